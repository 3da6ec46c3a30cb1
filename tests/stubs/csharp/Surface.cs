using System;
using System.Linq;
using System.Reflection;

/// <summary>Lists the public types and members of assemblies in the notation of surface.json.</summary>
/// <remarks>
/// A line a type: "type", name, base, kind. Below it a line a member: "member" or, where it overrides
/// one of a base class and so adds nothing, "override"; then the signature.
/// </remarks>
internal static class Surface
{
    private const BindingFlags Declared =
        BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly;

    private static void Main(string[] assemblies)
    {
        Console.OutputEncoding = new System.Text.UTF8Encoding(false);
        foreach (Type type in assemblies.SelectMany(path => Assembly.LoadFrom(path).GetExportedTypes()))
        {
            string kind = type.IsEnum ? "enum" : type.IsValueType ? "struct" : "class";
            Print("type", Name(type), Name(type.BaseType), kind);
            foreach (MemberInfo member in type.GetMembers(Declared))
            {
                string signature = Signature(member);
                if (signature != null)
                {
                    Print(IsOverride(member) ? "override" : "member", signature);
                }
            }
        }
    }

    private static void Print(params string[] cells)
    {
        Console.WriteLine(string.Join("\t", cells));
    }

    private static bool IsOverride(MemberInfo member)
    {
        var method = member as MethodInfo ?? (member as PropertyInfo)?.GetMethod;
        return method != null && method.GetBaseDefinition().DeclaringType != method.DeclaringType;
    }

    private static string Signature(MemberInfo member)
    {
        if (member is ConstructorInfo constructor)
        {
            return $"System.Void {constructor.Name}({Parameters(constructor)})";
        }
        if (member is MethodInfo method)
        {
            return IsAccessor(method)
                ? null
                : $"{Static(method.IsStatic)}{Name(method.ReturnType)} {method.Name}({Parameters(method)})";
        }
        if (member is PropertyInfo property)
        {
            return PropertySignature(property);
        }
        if (member is FieldInfo field)
        {
            return FieldSignature(field);
        }
        // A nested type is listed on its own; else it is an event, of which ESAPI has none.
        return member is Type ? null : $"{member.MemberType} {member.Name}";
    }

    private static bool IsAccessor(MethodInfo method) =>
        method.DeclaringType.GetProperties(Declared).Any(p => p.GetAccessors().Contains(method));

    private static string PropertySignature(PropertyInfo property)
    {
        ParameterInfo[] index = property.GetIndexParameters();
        string indexer = index.Length == 0
            ? ""
            : "[" + string.Join(", ", index.Select(i => Name(i.ParameterType))) + "]";
        string get = property.GetGetMethod() == null ? "" : "get; ";
        string set = property.GetSetMethod() == null ? "" : "set; ";
        bool isStatic = property.GetAccessors()[0].IsStatic;
        return $"{Static(isStatic)}{Name(property.PropertyType)} {property.Name}{indexer} {{ {get}{set}}}";
    }

    private static string FieldSignature(FieldInfo field)
    {
        if (field.IsSpecialName)
        {
            return null; // where an enum keeps its number
        }
        return field.IsLiteral
            ? $"static const {Name(field.FieldType)} {field.Name} = {Convert.ToInt64(field.GetRawConstantValue())}"
            : $"{Static(field.IsStatic)}{Name(field.FieldType)} {field.Name}";
    }

    private static string Static(bool isStatic) => isStatic ? "static " : "";

    private static string Parameters(MethodBase method) =>
        string.Join(", ", method.GetParameters().Select(p => $"{Direction(p)}{Name(p.ParameterType)} {p.Name}"));

    private static string Direction(ParameterInfo parameter) =>
        parameter.IsOut ? "out " : parameter.ParameterType.IsByRef ? "ref " : "";

    private static string Name(Type type)
    {
        if (type.IsByRef)
        {
            return Name(type.GetElementType());
        }
        if (type.IsArray)
        {
            int rank = type.GetArrayRank();
            string bounds = rank == 1 ? "" : string.Join(",", Enumerable.Repeat("0...", rank));
            return $"{Name(type.GetElementType())}[{bounds}]";
        }
        if (type.IsGenericType)
        {
            string arguments = string.Join(",", type.GetGenericArguments().Select(Name));
            return $"{type.GetGenericTypeDefinition().FullName}<{arguments}>";
        }
        return type.FullName.Replace("VMS.TPS.Common.Model.", "").Replace('+', '/');
    }
}
