"""Drift counting as one would write it at first: record by record, bin by bin, in plain Python."""

TIERS = ("rule", "model", "fallback", "middle")


def words_of(text):
    """The words of a text (bytes): runs of letters, digits and bytes beyond ASCII, in lower case."""
    words, word = [], b""
    for byte in [*text, 0x20]:
        one = bytes([byte])
        if one.isalnum() or byte >= 0x80:
            word += one.lower()
        elif word:
            words.append(word)
            word = b""
    return words


def bucket_of(word):
    """FNV-1a with 64 bits, folded to 16."""
    value = 0xCBF29CE484222325
    for byte in word:
        value = ((value ^ byte) * 0x100000001B3) % 2**64
    return (value & 0xFFFF) ^ (value >> 16 & 0xFFFF) ^ (value >> 32 & 0xFFFF) ^ (value >> 48)


def in_edges(edges, value):
    """0 below, 1 .. between, then above; the last bin is closed."""
    if not edges or value < edges[0]:
        return 0
    for index, (low, high) in enumerate(zip(edges, edges[1:], strict=False), start=1):
        if low <= value < high or (index == len(edges) - 1 and value == high):
            return index
    return len(edges)


def length_bin(length):
    edges = [0] + [2**power for power in range(1, 17)]
    return max(index for index, edge in enumerate(edges) if edge <= length)


def share_bin(vocabulary, text):
    buckets = [bucket_of(word) for word in words_of(text)]
    if not buckets:
        return 0
    unknown = sum(not vocabulary[bucket // 8] >> (bucket % 8) & 1 for bucket in buckets)
    return 1 + min(9, unknown * 10 // len(buckets))


def bin_of(column, record, answer):
    """The bin of a column that a record with its answer falls into; None where it does not count there.

    Args:
        column: A Column.
        record: Feature -> value as in a request; None where it is missing.
        answer: ``tier``, ``label`` (name or None), ``scores`` and ``values`` (lists or None).
    """
    if column.feature is not None:
        value = record.get(column.feature)
        if value is None:
            return 0
        if column.kind == "number":
            return 1 + in_edges(column.edges, float(value))
        if column.kind == "category":
            if value in column.levels:
                return 3 + column.levels.index(value)
            return 2 if value in record["levels"][column.feature] else 1
        text = value.encode()
        return 1 + (length_bin(len(text)) if column.kind == "text" else share_bin(column.vocabulary, text))
    if column.kind == "tier":
        index = TIERS.index(answer["tier"])
        # A bundle built without a middle tier has no bin for it.
        return index if index < column.bins else TIERS.index("model")
    if column.kind == "label":
        return 1 + column.levels.index(answer["label"]) if answer["label"] in column.levels else 0
    if answer["tier"] != "model":
        return None
    if column.kind == "confidence":
        return in_edges(column.edges, max(answer["scores"]))
    values = answer["values"] if answer["values"] is not None else answer["scores"]
    return 1 + in_edges(column.edges, values[column.slot])


def counted(layout, records, answers):
    """The whole block."""
    block = [0] * layout.size
    for record, answer in zip(records, answers, strict=True):
        for column in layout.columns:
            found = bin_of(column, record, answer)
            if found is not None:
                block[column.start + found] += 1
    return block
