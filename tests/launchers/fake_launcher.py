"""Stands in for ``stardust_esapi.commands.launcher``: tells what it finds, does as it is told."""

import importlib
import importlib.util
import json
import os
import shutil
import sys
import time
from pathlib import Path

FACTS = "FAKE_FACTS"  # file that gets a line of JSON for each run
DEED = "FAKE_DEED"  # what the plug-in shall do
FLAGS = (
    "isolated",
    "ignore_environment",
    "no_site",
    "no_user_site",
    "dont_write_bytecode",
    "utf8_mode",
    "verbose",
    "optimize",
)


_HOST = []


def run_console(host, arguments):
    _HOST.append(host)
    _tell(host, arguments=arguments, kinds=sorted({type(a).__name__ for a in arguments}))
    deed, *details = arguments or ["nothing"]
    result = globals()[f"do_{deed}"](*details)
    return 0 if result is None else result


def run_plugin(host, context, options, window):
    _tell(
        host,
        options=options,
        cancelled=window.Cancelled,
        patient=context.Patient.Id if context.Patient else None,
        plan=context.PlanSetup.Id if context.PlanSetup else None,
        structure_set=context.StructureSet.Id if context.StructureSet else None,
        sets=sorted(s.Id for s in context.Patient.StructureSets) if context.Patient else None,
        may_write=context.Patient.CanModifyData() if context.Patient else None,
    )
    return globals()[f"plug_in_{os.environ.get(DEED, 'nothing')}"](context, window)


def _tell(host, **more):
    from System.Reflection import Assembly
    from System.Threading import Thread

    facts = {
        "host": {
            name: getattr(host, name)
            for name in (
                "Name",
                "Version",
                "IsWriteable",
                "ManifestDigest",
                "Verified",
                "Difference",
            )
        },
        "entry": Assembly.GetEntryAssembly().GetName().Name,
        "writes": host.Writer is not None,
        "apartment": str(Thread.CurrentThread.GetApartmentState()),
        "process": os.getpid(),
        "argv": sys.argv,
        "path": sys.path,
        "modules": sorted(sys.modules),
        "flags": {name: int(getattr(sys.flags, name)) for name in FLAGS},
    } | more
    with Path(os.environ[FACTS]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")


# --- what the program is told to do ---


def do_nothing(*details):
    pass


def do_exit(code):
    sys.stdout.write("Grüße, ohne Zeilenende")
    return int(code)


def do_leave(code):
    sys.exit(int(code) if code.isdigit() else code)


def do_import(name):
    importlib.import_module(name)


def do_late():
    from stardust_esapi import _json, late

    if _json.__doc__ != "json speedups\n":
        Path(os.environ[FACTS] + "._json.trap").touch()
    sys.stdout.write(late.__name__.rpartition(".")[2] + "\n")


def do_replace(path, other, name):
    aside = Path(path + ".aside")
    shutil.copy(other, aside)
    aside.replace(path)
    importlib.invalidate_caches()
    importlib.import_module(name)


def do_load(path):
    spec = importlib.util.spec_from_file_location("loaded", path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


def do_fail(text):
    raise ValueError(text)


def do_fail_in_dotnet():
    from System import Convert

    Convert.ToInt32("no number")


def do_wait():
    sys.stdout.write("waiting\n")
    sys.stdout.flush()
    time.sleep(3600)


def do_end_late(file):
    """Leave work to threads and exit functions, as a program may."""
    import atexit
    import threading

    gate = threading.Event()

    def late():
        gate.wait()
        Path(file).write_text("thread ")

    def last():
        with Path(file).open("a") as opened:
            opened.write("exit function")

    threading.Thread(target=late).start()
    atexit.register(last)
    gate.set()


def do_open(patient_id):
    application = _application()
    try:
        patient = application.OpenPatientById(patient_id)
        sys.stdout.write(f"{patient.Id} {patient.CanModifyData()}")
    finally:
        application.Dispose()


def do_write(how, patient_id):
    """Make a structure set: as the launcher does it, or past the launcher."""
    application = _application()
    try:
        patient = application.OpenPatientById(patient_id)
        writer = _HOST[-1].Writer
        sys.stdout.write(f"{patient.CanModifyData()} {writer.CanModify(patient)}\n")
        if how == "past":
            patient.BeginModifications()
        else:
            writer.Begin(patient)
        (before,) = patient.StructureSets
        if how == "past after the beginning":
            before.Image.CreateNewStructureSet()
        else:
            made = writer.CreateStructureSet(before.Image)
            writer.NameStructureSet(made, "made")
            writer.Save(application)
        sys.stdout.write("done")
    except Exception as error:  # noqa: BLE001 - of .NET, which is loaded late
        sys.stdout.write(error.Message)
    finally:
        application.Dispose()


def do_refusals(patient_id):
    application = _application()
    try:
        patient = application.OpenPatientById(patient_id)
        sys.stdout.write(json.dumps(refusals(_HOST[-1].Writer, application, patient)))
    finally:
        application.Dispose()


def refusals(writer, application, patient):
    """What a writer answers to all that it may be asked, each with what was asked."""
    answers = []

    def ask(what, deed):
        try:
            result, answer = deed(), "done"
        except Exception as error:  # noqa: BLE001 - of .NET, or of the stub
            result, kind = None, type(error)
            answer = f"{kind.__module__}.{kind.__name__}: {error.Message}"
        answers.append([what, answer])
        return result

    (there,) = patient.StructureSets
    gtv = next(s for s in there.Structures if s.Id == "GTV1")
    image = there.Image
    ask("save before all", lambda: writer.Save(application))
    ask("create before all", lambda: writer.CreateStructureSet(image))
    ask("name before all", lambda: writer.NameStructureSet(there, "mine"))
    ask("begin", lambda: writer.Begin(patient))
    ask("begin again", lambda: writer.Begin(patient))
    begun = [writer.HasBegun(patient)]
    ask("name a foreign set", lambda: writer.NameStructureSet(there, "mine"))
    ask("add to a foreign set", lambda: writer.AddStructure(there, "GTV", "mine"))
    ask("remove a foreign set", lambda: writer.RemoveStructureSet(there))
    ask("copy onto a foreign structure", lambda: writer.CopyShape(gtv, gtv, False))
    ask("remove a foreign structure", lambda: writer.RemoveStructure(gtv))
    mine = ask("create", lambda: writer.CreateStructureSet(image))
    ask("name it as the other", lambda: writer.NameStructureSet(mine, there.Id))
    ask("name it", lambda: writer.NameStructureSet(mine, "mine"))
    ask("add what no version takes", lambda: writer.AddStructure(mine, "MARKER", "gtv+"))
    copy = ask("add", lambda: writer.AddStructure(mine, "GTV", "gtv+"))
    ask("add it again", lambda: writer.AddStructure(mine, "GTV", "GTV+"))
    ask("copy", lambda: writer.CopyShape(copy, gtv, False))
    another = ask("add another", lambda: writer.AddStructure(mine, "PTV", "target+"))
    ask("remove it", lambda: writer.RemoveStructure(another))
    ask("remove it again", lambda: writer.RemoveStructure(another))
    second = ask("create a second", lambda: writer.CreateStructureSet(image))
    inside = ask("add to the second", lambda: writer.AddStructure(second, "CTV", "ctv"))
    ask("remove the second", lambda: writer.RemoveStructureSet(second))
    ask("remove it again", lambda: writer.RemoveStructureSet(second))
    ask("copy onto what went with it", lambda: writer.CopyShape(inside, gtv, False))
    ask("save", lambda: writer.Save(application))
    begun.append(writer.HasBegun(patient))
    ask("save again", lambda: writer.Save(application))
    ask("add after saving", lambda: writer.AddStructure(mine, "CTV", "ctv"))
    sets = {s.Id: sorted(t.Id for t in s.Structures) for s in patient.StructureSets}
    return [*answers, ["begun", begun], ["holds", sets["mine"]], ["sets", sorted(sets)]]


def _application():
    import clr

    clr.AddReference("VMS.TPS.Common.Model.API")
    from VMS.TPS.Common.Model.API import Application

    return Application.CreateApplication()


# --- what the plug-in is told to do ---


def plug_in_nothing(context, window):
    return "Nothing was to be done."


def plug_in_fail(context, window):
    raise ValueError("no such thing")


def plug_in_finish_badly(context, window):
    window.Start(2)
    window.Phase("Case 1", 1, 2)
    window.Finish("One case failed.", True)
    return "One case failed."


def plug_in_write(context, window):
    context.Patient.BeginModifications()
    return _created(context)


def plug_in_write_more(context, window):
    if len(list(context.Patient.StructureSets)) == 1:
        context.Patient.BeginModifications()
    return _created(context)


def _created(context):
    created = context.StructureSet.Image.CreateNewStructureSet()
    created.Id = f"made {len(list(context.Patient.StructureSets))}"
    return f"{created.Id} is there."


def plug_in_show(context, window):
    """Photograph the window in each state, and press its button."""
    window.Start(4)
    window.Phase("Case 3, patient 0004711: copying structures", 3, 4)
    form = _form()
    _photograph(form, "running", lambda: _text(form, "Cancel"))
    _press(form)
    while not window.Cancelled:
        time.sleep(0.05)
    _photograph(form, "cancelling", lambda: not _button(form).Enabled)
    window.Finish("Cancelled. Close the patient without saving; start again to go on.", True)
    _photograph(form, "finished", lambda: _text(form, "Close"))
    _press(form)
    while form.Visible:
        time.sleep(0.05)
    return "Closed."


def _form():
    import clr

    clr.AddReference("System.Windows.Forms")
    from System.Windows.Forms import Application

    return Application.OpenForms[0]


def _button(form):
    from System.Windows.Forms import Button

    rows = form.Controls[0]
    return next(c for c in rows.Controls if c.GetType().Name == Button.__name__)


def _text(form, text):
    return _button(form).Text == text


def _press(form):
    _do(form, _button(form).PerformClick)


def _do(form, deed):
    """Let the window's thread do something, and wait for it."""
    from System import Action

    # Asleep: that thread needs Python's lock, which this one holds while it is awake.
    begun = form.BeginInvoke(Action(deed))
    while not begun.IsCompleted:
        time.sleep(0.01)


def _photograph(form, name, when):
    """Save what the screen shows of the window."""
    import clr

    clr.AddReference("System.Drawing")
    from System.Drawing import Bitmap, Graphics, Point
    from System.Drawing.Imaging import ImageFormat

    while not when():
        time.sleep(0.05)
    _do(form, form.Refresh)
    image = Bitmap(form.Width + 40, form.Height + 40)
    graphics = Graphics.FromImage(image)
    graphics.CopyFromScreen(Point(form.Left - 20, form.Top - 20), Point(0, 0), image.Size)
    graphics.Dispose()
    image.Save(str(Path(os.environ[FACTS]).with_name(f"{name}.png")), ImageFormat.Png)
