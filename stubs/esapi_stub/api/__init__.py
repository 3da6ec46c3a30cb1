"""``VMS.TPS.Common.Model.API``: the object model, thin views on the records of the open patient."""
