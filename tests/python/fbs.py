"""FlatBuffers tables driven by the text of a schema, without generated code.

Reads as much of the schema language as legate.fbs uses: tables, enums, scalars, strings, vectors of bytes, strings and
tables, defaults, (required) and (bit_flags). Reading checks every offset, so hostile bytes raise Invalid.
"""

import re
import struct

import flatbuffers

SCALARS = {"bool": "<?", "ubyte": "<B", "ushort": "<H", "uint": "<I", "ulong": "<Q"}


class Invalid(Exception):
    """The bytes are not a table of the schema."""


class Field:
    def __init__(self, name, kind, default, required):
        self.name, self.kind, self.required = name, kind, required
        self.default = default


class Schema:
    def __init__(self, text):
        text = re.sub(r"//[^\n]*", "", text)
        self.enums = {}
        self.tables = {}
        for name, flags, body in re.findall(r"enum (\w+):ubyte\s*(\(bit_flags\))?\s*{(.*?)}", text, re.S):
            values, following = {}, 0
            for item in filter(None, (part.strip() for part in body.split(","))):
                key, _, number = (part.strip() for part in item.partition("="))
                following = int(number) if number else following
                values[key] = 1 << following if flags else following
                following += 1
            self.enums[name] = values
        for name, body in re.findall(r"table (\w+)\s*{(.*?)}", text, re.S):
            fields = []
            for line in filter(None, (part.strip() for part in body.split(";"))):
                match = re.fullmatch(r"(\w+)\s*:\s*(\[?\w+\]?)(?:\s*=\s*(\w+))?\s*(\(required\))?", line)
                default = int(match[3]) if match[3] else 0
                fields.append(Field(match[1], match[2], default, bool(match[4])))
            self.tables[name] = fields

    def format_of(self, kind):
        """The struct format of a scalar or enum; None for anything else."""
        return SCALARS.get("ubyte" if kind in self.enums else kind)

    # ---- Reading ----------------------------------------------------------------------------

    def decode(self, table, data):
        """The root table as a dict: scalars always, the rest where present. Vectors of bytes are bytes."""
        reader = _Reader(self, data)
        return reader.table(reader.follow(0), table, 1)

    # ---- Writing ----------------------------------------------------------------------------

    def encode(self, table, values):
        """Bytes of the table, with a multiple of 8 as length."""
        unknown = set(values) - {field.name for field in self.tables[table]}
        assert not unknown, f"{table} has no field {unknown}"
        builder = flatbuffers.Builder(256)
        builder.Finish(self._build(builder, table, values))
        data = bytes(builder.Output())
        return data + bytes(-len(data) % 8)

    def _build(self, builder, table, values):
        fields = self.tables[table]
        offsets = {}
        for field in fields:
            value = values.get(field.name)
            if value is not None and not self.format_of(field.kind):
                offsets[field.name] = self._build_value(builder, field.kind, value)
        builder.StartObject(len(fields))
        for slot, field in enumerate(fields):
            if field.name in offsets:
                builder.PrependUOffsetTRelativeSlot(slot, offsets[field.name], 0)
            elif self.format_of(field.kind) and field.name in values:
                kind = "ubyte" if field.kind in self.enums else field.kind
                prepend = {"bool": builder.PrependBoolSlot, "ubyte": builder.PrependUint8Slot,
                           "ushort": builder.PrependUint16Slot, "uint": builder.PrependUint32Slot,
                           "ulong": builder.PrependUint64Slot}[kind]
                prepend(slot, values[field.name], field.default)
        return builder.EndObject()

    def _build_value(self, builder, kind, value):
        if kind == "string":
            return builder.CreateString(value)
        if kind == "[ubyte]":
            return builder.CreateByteVector(bytes(value))
        if kind.startswith("["):
            offsets = [self._build_value(builder, kind[1:-1], item) for item in value]
            builder.StartVector(4, len(offsets), 4)
            for offset in reversed(offsets):
                builder.PrependUOffsetTRelative(offset)
            return builder.EndVector()
        return self._build(builder, kind, value)


class _Reader:
    MAX_DEPTH = 16
    MAX_TABLES = 4096

    def __init__(self, schema, data):
        self.schema, self.data, self.tables = schema, data, 0

    def scalar(self, at, fmt):
        size = struct.calcsize(fmt)
        if at < 0 or at % size or at + size > len(self.data):
            raise Invalid(f"a scalar of {size} bytes at {at}")
        value = struct.unpack_from(fmt, self.data, at)[0]
        return bool(value) if fmt == "<?" else value

    def follow(self, at):
        offset = self.scalar(at, "<I")
        if offset == 0 or offset >= 1 << 31:
            raise Invalid(f"offset {offset} at {at}")
        return at + offset

    def vector(self, at, size):
        """Where a vector's elements begin and how many there are."""
        count = self.scalar(at, "<I")
        if at + 4 + count * size > len(self.data):
            raise Invalid(f"a vector of {count} at {at}")
        return at + 4, count

    def table(self, at, name, depth):
        self.tables += 1
        if depth > self.MAX_DEPTH or self.tables > self.MAX_TABLES:
            raise Invalid("too deep, or too many tables")
        vtable = at - self.scalar(at, "<i")
        length = self.scalar(vtable, "<H")
        if length % 2 or vtable + length > len(self.data):
            raise Invalid(f"the vtable at {vtable}")
        result = {}
        for slot, field in enumerate(self.schema.tables[name]):
            entry = 4 + 2 * slot
            offset = self.scalar(vtable + entry, "<H") if entry + 2 <= length else 0
            fmt = self.schema.format_of(field.kind)
            if fmt:
                value = self.scalar(at + offset, fmt) if offset else field.default
                result[field.name] = bool(value) if field.kind == "bool" else value
            elif offset:
                result[field.name] = self.value(self.follow(at + offset), field.kind, depth)
            elif field.required:
                raise Invalid(f"{name} lacks {field.name}")
        return result

    def value(self, at, kind, depth):
        if kind == "string":
            begin, count = self.vector(at, 1)
            if begin + count >= len(self.data) or self.data[begin + count] != 0:
                raise Invalid(f"the string at {at} has no end")
            try:
                return self.data[begin:begin + count].decode()
            except UnicodeDecodeError as error:
                raise Invalid(f"the string at {at} is not UTF-8") from error
        if kind == "[ubyte]":
            begin, count = self.vector(at, 1)
            return bytes(self.data[begin:begin + count])
        if kind.startswith("["):
            begin, count = self.vector(at, 4)
            return [self.value(self.follow(begin + 4 * i), kind[1:-1], depth) for i in range(count)]
        return self.table(at, kind, depth + 1)
