"""`$filter` and `$orderby`: syntax bound to a relation becomes conditions and expressions of the query model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from typing import Literal as OneOf

import msgspec

from isthmus.errors import Rejected
from isthmus.query.comparable import MIRRORED, check_comparable, described
from isthmus.query.dataverse_functions import NAMESPACE
from isthmus.query.functions import FUNCTIONS, TEXT_MATCHES, WHOLE
from isthmus.query.literals import NATURAL, Literal, mismatch, symbol_key, text_of, value_of
from isthmus.query.model import (
    NUMBERS,
    And,
    Comparison,
    Condition,
    Dialect,
    Expression,
    Function,
    In,
    Kind,
    Lambda,
    Match,
    Navigation,
    Not,
    Operator,
    Or,
    Order,
    Path,
    QueryColumn,
    Relation,
    Relations,
    Truth,
    Value,
)
from isthmus.query.odata_names import NameBinder
from isthmus.query.odata_query_functions import query_function
from isthmus.query.odata_syntax import (
    AliasSyntax,
    CallSyntax,
    Constant,
    EnumSyntax,
    LambdaSyntax,
    ListSyntax,
    NameSyntax,
    OperationSyntax,
    OrderSyntax,
    PathSyntax,
    Syntax,
)


class ConditionBinder:
    """Binds the conditions of one query. `aliases` are the values given for parameter aliases, by name."""

    def __init__(
        self, relation: Relation, relations: Relations, dialect: Dialect, aliases: Mapping[str, Syntax] | None = None
    ) -> None:
        self._names = NameBinder(relation, relations)
        self._relations = relations
        self._dialect = dialect
        self._aliases = aliases or {}

    def condition(self, syntax: Syntax) -> Condition:
        """Anything that is true or false."""
        node = self._resolved(syntax)
        if isinstance(node, OperationSyntax):
            return self._operation(node)
        if isinstance(node, CallSyntax):
            return self._call_condition(node)
        if isinstance(node, LambdaSyntax):
            return self._lambda(node)
        if isinstance(node, Constant) and node.value is not None:
            return And(()) if node.value else Or(())
        if isinstance(node, PathSyntax):
            path = self._names.path(node)
            if path.kind is Kind.BOOLEAN:
                return Truth(path)
            raise mismatch(f"{'/'.join(node.names)} is neither true nor false; compare it with something.")
        raise mismatch("A filter must be true or false; a value alone is neither.")

    def orders(self, syntax: tuple[OrderSyntax, ...]) -> tuple[Order, ...]:
        """Expressions to order by. A lookup is ordered by the name of the row it points at, as Dataverse does."""
        return tuple(Order(self._order_expression(item.expression), item.descending) for item in syntax)

    def expression(self, syntax: Syntax, kind: Kind | None = None, column: QueryColumn | None = None) -> Expression:
        """A value; `kind` and `column` are those of what it is compared with, for literals."""
        node = self._resolved(syntax)
        match node:
            case Literal():
                return self._literal(node, kind, column)
            case Constant():
                if node.value is None:
                    return Value(None, kind or Kind.TEXT)
                return Value(node.value, Kind.BOOLEAN)
            case EnumSyntax():
                return self._enum(node, kind, column)
            case PathSyntax():
                return self._names.path(node)
            case CallSyntax():
                return self._function(node)
            case OperationSyntax(operator="add" | "sub" | "mul" | "div" | "mod"):
                return self._arithmetic(node)
        raise mismatch("A condition or a list stands where a value is needed.")

    # -- conditions ----------------------------------------------------------------------------------------------

    def _operation(self, node: OperationSyntax) -> Condition:
        match node.operator:
            case "and":
                return And(tuple(self.condition(operand) for operand in node.operands))
            case "or":
                return Or(tuple(self.condition(operand) for operand in node.operands))
            case "not":
                return Not(self.condition(node.operands[0]))
            case "in":
                return self._in(node)
            case "eq" | "ne" | "gt" | "ge" | "lt" | "le":
                return self._comparison(node.operator, *map(self._resolved, node.operands))
        raise mismatch(f"The result of {node.operator} is a number; compare it with something.")

    def _comparison(self, operator: Operator, left: Syntax, right: Syntax) -> Condition:
        if _is_given(left) and not _is_given(right):
            left, right, operator = right, left, MIRRORED[operator]
        if self._is_condition(left):
            return self._condition_compared(operator, left, right)
        expression = self.expression(left)
        column = expression.column if isinstance(expression, Path) else None
        if isinstance(right, Constant):
            return self._compared_with_constant(operator, expression, right)
        if isinstance(right, Literal) and right.text == "''" and expression.kind is not Kind.TEXT:
            return self._compared_with_constant(operator, expression, Constant(None, right.position))
        if self._is_pattern(expression, right) and operator in ("eq", "ne"):
            like = Match("like", expression, self.expression(right, Kind.TEXT))
            return like if operator == "eq" else Not(like)
        other = self.expression(right, expression.kind, column)
        check_comparable(expression, other, operator)
        return Comparison(operator, expression, other)

    def _compared_with_constant(self, operator: Operator, expression: Expression, constant: Constant) -> Condition:
        if constant.value is None:
            if operator not in ("eq", "ne"):
                raise mismatch(f"Nothing is {operator} null; only eq and ne go with null.")
            return Comparison(operator, expression, Value(None, expression.kind))
        if expression.kind is not Kind.BOOLEAN:
            raise mismatch(f"{described(expression)} cannot be compared with true or false.")
        return Comparison(operator, expression, Value(constant.value, Kind.BOOLEAN))

    def _condition_compared(self, operator: Operator, left: Syntax, right: Syntax) -> Condition:
        if not isinstance(right, Constant) or right.value is None or operator not in ("eq", "ne"):
            raise mismatch("A condition can only be eq or ne to true or false.")
        condition = self.condition(left)
        return condition if right.value == (operator == "eq") else Not(condition)

    def _is_condition(self, node: Syntax) -> bool:
        if isinstance(node, CallSyntax):
            return node.name in TEXT_MATCHES or node.name.startswith(NAMESPACE)
        return isinstance(node, LambdaSyntax) or (
            isinstance(node, OperationSyntax) and node.operator not in ("add", "sub", "mul", "div", "mod")
        )

    def _is_pattern(self, expression: Expression, right: Syntax) -> bool:
        """F&O's OData reads `*` and `?` in a text as wildcards."""
        return (
            self._dialect == "finops"
            and expression.kind is Kind.TEXT
            and isinstance(right, Literal)
            and right.kind == "text"
            and ("*" in right.text or "?" in right.text)
        )

    def _in(self, node: OperationSyntax) -> Condition:
        if self._dialect == "finops":
            raise _unsupported("The operator in", "use eq and or")
        left = self.expression(node.operands[0])
        listed = self._resolved(node.operands[1])
        if not isinstance(listed, ListSyntax):
            raise mismatch("The operator in needs values in parentheses, such as name in ('A','B').")
        return self._among(left, listed.items)

    def _among(self, left: Expression, items: tuple[Syntax, ...]) -> Condition:
        column = left.column if isinstance(left, Path) else None
        values = []
        conditions: list[Condition] = []
        for item in items:
            node = self._resolved(item)
            if isinstance(node, Literal):
                values.append(value_of(node, left.kind, column))
            elif isinstance(node, Constant) and node.value is None:
                conditions.append(Comparison("eq", left, Value(None, left.kind)))
            else:
                value = self.expression(node, left.kind, column)
                check_comparable(left, value, "eq")
                conditions.append(Comparison("eq", left, value))
        if values:
            conditions.append(In(left, tuple(values)))
        return conditions[0] if len(conditions) == 1 else Or(tuple(conditions))

    def _call_condition(self, node: CallSyntax) -> Condition:
        if node.name.startswith(NAMESPACE):
            return self._query_function(node)
        if node.name not in TEXT_MATCHES:
            function = self._function(node)
            if function.kind is Kind.BOOLEAN:
                return Truth(function)
            raise mismatch(f"The result of {node.name} is neither true nor false; compare it with something.")
        given = _unnamed(node)
        if len(given) != 2:
            raise mismatch(f"{node.name} takes two texts, such as {node.name}(name,'A').")
        left, right = (self.expression(argument, Kind.TEXT) for argument in given)
        for side in (left, right):
            if side.kind is not Kind.TEXT:
                raise mismatch(f"{node.name} takes texts; {described(side)} is none.")
        if isinstance(right, Value) and right.value is None:
            return Or(())
        return Match(cast("OneOf['contains', 'startswith', 'endswith']", node.name), left, right)

    def _lambda(self, node: LambdaSyntax) -> Condition:
        outer, through, collection = self._names.collection(node.path, node.how)
        condition = None
        if node.variable is not None and node.condition is not None:
            with self._names.inside(node.variable, collection):
                condition = self.condition(node.condition)
        elif node.how == "all":
            raise mismatch("all needs a condition, such as all(o:o/name ne null).")
        return Lambda(node.how, through, collection, condition, outer)

    # -- values --------------------------------------------------------------------------------------------------

    def _literal(self, node: Literal, kind: Kind | None, column: QueryColumn | None) -> Value:
        return value_of(node, kind if kind is not None else NATURAL[node.kind], column)

    def _enum(self, node: EnumSyntax, kind: Kind | None, column: QueryColumn | None) -> Value:
        if kind is Kind.BOOLEAN:
            return Value(_yes_or_no(node.literal.text), Kind.BOOLEAN, node.literal.slot, _yes_or_no)
        if column is not None and (column.kind is Kind.ENUM or (column.kind is Kind.CHOICE and column.labels)):
            named = node.type_name.rsplit(".", 1)[-1]
            if column.enum_type is not None and symbol_key(named) != symbol_key(column.enum_type.rsplit(".", 1)[-1]):
                raise mismatch(f"The column {column.name} holds members of {column.enum_type}, not of {named}.")
            as_member = msgspec.structs.replace(column, kind=Kind.ENUM)
            return value_of(node.literal, Kind.ENUM, as_member)
        if kind is Kind.TEXT:
            return value_of(node.literal, Kind.TEXT, column)
        raise mismatch(f"{node.type_name}{node.literal.text} is a member of an enum; what it is compared with is not.")

    def _function(self, node: CallSyntax) -> Function:
        signature = FUNCTIONS.get(node.name)
        if signature is None:
            raise Rejected(
                f"There is no function {node.name} for filters.", code="unknown_function", function=node.name
            )
        given = _unnamed(node)
        least = len(signature.arguments) - (1 if signature.shorter else 0)
        if not least <= len(given) <= len(signature.arguments):
            raise mismatch(f"{node.name} takes {len(signature.arguments)} values, not {len(given)}.")
        arguments = []
        for argument, kinds, literal_kind in zip(given, signature.arguments, signature.given, strict=False):
            expression = self.expression(argument, literal_kind)
            if expression.kind not in kinds:
                raise mismatch(f"{node.name} does not go with {described(expression)}.")
            arguments.append(expression)
        return Function(node.name, tuple(arguments), signature.result)

    def _arithmetic(self, node: OperationSyntax) -> Function:
        operands = []
        for syntax in node.operands:
            resolved = self._resolved(syntax)
            is_whole = isinstance(resolved, Literal) and resolved.kind == "integer"
            operands.append(self.expression(resolved, Kind.BIG_INT if is_whole else Kind.DECIMAL))
        for operand in operands:
            if operand.kind not in NUMBERS:
                raise mismatch(f"{node.operator} takes numbers; {described(operand)} is none.")
        kind = Kind.BIG_INT if all(operand.kind in WHOLE for operand in operands) else Kind.DECIMAL
        return Function(node.operator, tuple(operands), kind)

    def _order_expression(self, syntax: Syntax) -> Expression:
        expression = self.expression(syntax)
        if not isinstance(expression, Path):
            if isinstance(expression, Value):
                raise mismatch("A value is no order; name a property.")
            return expression
        targets = expression.column.lookup_targets
        target = self._relations.get(targets[0]) if len(targets) == 1 else None
        if target is None or target.primary_name is None or len(target.key) != 1:
            return expression
        pointed = Navigation(
            name=expression.column.name,
            target=target.name,
            many=False,
            on=((target.key[0], expression.column.physical),),
        )
        return Path((*expression.navigations, pointed), target.physical[target.primary_name], expression.outer)

    # -- names ---------------------------------------------------------------------------------------------------

    def _resolved(self, syntax: Syntax) -> Syntax:
        if not isinstance(syntax, AliasSyntax):
            return syntax
        value = self._aliases.get(syntax.name.lower())
        if value is None:
            raise Rejected(
                f"The parameter alias {syntax.name} has no value; add &{syntax.name}=...", code="query_syntax"
            )
        return value

    # -- query functions of Dataverse ----------------------------------------------------------------------------

    def _query_function(self, node: CallSyntax) -> Condition:
        name = node.name[len(NAMESPACE) :]
        if self._dialect == "finops":
            raise Rejected(f"There is no query function {node.name}.", code="unknown_function", function=node.name)
        given = {key: self._resolved(value) for key, value in node.arguments if key is not None}
        named = given.pop("PropertyName", None)
        if not isinstance(named, Literal) or named.kind != "text":
            raise mismatch(f"{name} needs PropertyName='...', the property it is about.")
        path = self._names.path(PathSyntax(tuple(text_of(named.text).split("/")), named.position), logical=True)
        items: list[Syntax] = []
        for value in given.values():
            items.extend(map(self._resolved, value.items) if isinstance(value, ListSyntax) else [value])
        return query_function(name, path, items)


def _is_given(node: Syntax) -> bool:
    return isinstance(node, Literal | EnumSyntax | Constant)


def _unnamed(node: CallSyntax) -> list[Syntax]:
    if any(name is not None for name, _ in node.arguments):
        raise mismatch(f"{node.name} takes its values without names.")
    return [value for _, value in node.arguments]


def _unsupported(what: str, advice: str) -> Rejected:
    return Rejected(f"{what} is not supported: {advice}.", code="not_supported")


def _yes_or_no(raw: str) -> bool:
    member = symbol_key(text_of(raw))
    if member not in ("yes", "no"):
        raise mismatch(f"{raw} is neither Yes nor No.")
    return member == "yes"


def names_of(syntax: Syntax) -> set[str]:
    """Names of properties that a condition uses, as written; of a path, the whole path."""
    found: set[str] = set()
    rest: list[Any] = [syntax]
    while rest:
        node = rest.pop()
        match node:
            case PathSyntax():
                found.add("/".join(node.names))
            case NameSyntax():
                found.add(node.name)
            case OperationSyntax():
                rest.extend(node.operands)
            case CallSyntax():
                rest.extend(value for _, value in node.arguments)
                found.update(
                    text_of(value.text)
                    for name, value in node.arguments
                    if name == "PropertyName" and isinstance(value, Literal)
                )
            case LambdaSyntax():
                found.add("/".join(node.path.names))
            case ListSyntax():
                rest.extend(node.items)
    return found
