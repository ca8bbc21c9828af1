"""Triton kernels: attention of one new token a row over a forest of shared prefixes.

A unit is a segment of the forest (its tokens, all query heads of its rows) or the tokens that a row has for itself.
Three kernels run one after the other, with no word from the host in between and nothing allocated, so that they can be
part of a CUDA graph:

* `plan_kernel`, once a step: cuts the units into items of about equally many tokens;
* `attend_kernel`, once a layer: an item and a key-value head a program; softmax over the item's tokens, with its
  base-2 log-sum-exp, goes to the row's list of parts;
* `merge_kernel`, once a layer: weighs a row's parts by their log-sum-exp.

All sums are in float32. Numbers of the batch that change from step to step are read from the device.
"""

from __future__ import annotations

import triton
import triton.language as tl

_JOB = tl.constexpr(256)
"""An item is written as unit x this + its number within the unit."""


@triton.jit
def _column(table, number: tl.constexpr, rows_max):
    return table + 16 + number * rows_max


@triton.jit(do_not_specialize=["rows", "rows_max", "target", "parts_max", "min_tokens"])
def plan_kernel(
    table,
    kv_indptr,
    items,
    offsets,
    parts,
    state,
    rows,
    rows_max,
    target,
    parts_max,
    min_tokens,
    BLOCK_R: tl.constexpr,
    BLOCK_P: tl.constexpr,
    DEPTH: tl.constexpr,
    N: tl.constexpr,
):
    """Grid: 2 x rows; programs below `rows` are segments, the others rows."""
    unit = tl.program_id(0)
    index = tl.arange(0, BLOCK_R)
    segments = tl.load(table)
    is_segment = index < segments
    is_row = index < rows
    begin = tl.load(_column(table, 0, rows_max) + index, mask=is_segment, other=0)
    end = tl.load(_column(table, 1, rows_max) + index, mask=is_segment, other=0)
    shared = end - begin
    lengths = tl.load(kv_indptr + index + 1, mask=is_row, other=0) - tl.load(kv_indptr + index, mask=is_row, other=0)
    own = tl.maximum(lengths - tl.load(_column(table, 6, rows_max) + index, mask=is_row, other=0), 0)

    # Tokens of an item: enough items to fill the device, and no row with more parts than it has room for.
    total = tl.sum(shared, 0) + tl.sum(own, 0)
    size = tl.maximum(tl.cdiv(total, target), tl.cdiv(tl.max(lengths, 0), parts_max - DEPTH - 1))
    size = tl.cdiv(tl.maximum(size, min_tokens), N) * N
    shared_items = tl.cdiv(shared, size)
    own_items = tl.cdiv(own, size)
    all_shared = tl.sum(shared_items, 0)
    if unit == 0:
        tl.store(state, all_shared + tl.sum(own_items, 0))
        tl.store(state + 1, size)

    row = unit - rows
    if row < 0:
        first = tl.sum(tl.where(index < unit, shared_items, 0), 0)
        count = tl.sum(tl.where(index == unit, shared_items, 0), 0)
        before = tl.load(_column(table, 4, rows_max) + unit, mask=unit < segments, other=-1)
    else:
        first = all_shared + tl.sum(tl.where(index < row, own_items, 0), 0)
        count = tl.sum(tl.where(index == row, own_items, 0), 0)
        before = tl.load(_column(table, 7, rows_max) + row)
    offset = 0
    for _ in tl.static_range(DEPTH):
        known = before >= 0
        above = tl.maximum(before, 0)
        length = tl.load(_column(table, 1, rows_max) + above) - tl.load(_column(table, 0, rows_max) + above)
        offset += tl.where(known, tl.cdiv(length, size), 0)
        before = tl.where(known, tl.load(_column(table, 4, rows_max) + above), -1)
    tl.store(offsets + unit, offset)
    if row >= 0:
        tl.store(parts + row, offset + count)
    number = tl.arange(0, BLOCK_P)
    tl.store(items + first + number, unit * _JOB + number, mask=number < count)


@triton.jit
def _attend(
    q,
    k_buffer,
    v_buffer,
    slots,
    count,
    stride_k,
    stride_v,
    scale,
    M: tl.constexpr,
    N: tl.constexpr,
    D: tl.constexpr,
):
    """Softmax attention of M queries over `count` tokens: the result and its base-2 log-sum-exp.

    Loads beyond the end read the last token again, and their scores are masked: no mask on keys and values.
    """
    d = tl.arange(0, D)
    result = tl.zeros([M, D], tl.float32)
    highest = tl.full([M], -float("inf"), tl.float32)
    total = tl.zeros([M], tl.float32)
    for at in tl.range(0, count, N):
        token = at + tl.arange(0, N)
        slot = tl.load(slots + tl.minimum(token, count - 1)).to(tl.int64)
        k = tl.load(k_buffer + slot[:, None] * stride_k + d[None, :])
        score = tl.dot(q, tl.trans(k)) * scale
        score = tl.where((token < count)[None, :], score, -float("inf"))
        new = tl.maximum(highest, tl.max(score, 1))
        weight = tl.exp2(score - new[:, None])
        fade = tl.exp2(highest - new)
        v = tl.load(v_buffer + slot[:, None] * stride_v + d[None, :])
        result = result * fade[:, None] + tl.dot(weight.to(v.dtype), v)
        total = total * fade + tl.sum(weight, 1)
        highest = new
    return result / total[:, None], highest + tl.log2(total)


@triton.jit
def _segment_item(
    q_buffer,
    k_head,
    v_head,
    kv_indptr,
    kv_indices,
    table,
    part_out,
    part_lse,
    unit,
    job,
    part,
    size,
    kv_head,
    rows_max,
    parts_max,
    scale,
    stride_q,
    stride_kt,
    stride_vt,
    HEADS: tl.constexpr,
    G: tl.constexpr,
    D: tl.constexpr,
    M: tl.constexpr,
    N: tl.constexpr,
):
    m = tl.arange(0, M)
    d = tl.arange(0, D)
    first = tl.load(_column(table, 2, rows_max) + unit)
    valid = m < tl.load(_column(table, 3, rows_max) + unit) * G
    row = tl.load(_column(table, 5, rows_max) + first + m // G, mask=valid, other=0).to(tl.int64)
    leader = tl.load(_column(table, 5, rows_max) + first)
    start = tl.load(_column(table, 0, rows_max) + unit) + job * size
    count = tl.minimum(tl.load(_column(table, 1, rows_max) + unit) - start, size)
    head = kv_head * G + m % G
    q = tl.load(q_buffer + row[:, None] * stride_q + head[:, None] * D + d[None, :], mask=valid[:, None], other=0.0)
    slots = kv_indices + tl.load(kv_indptr + leader) + start
    result, lse = _attend(q, k_head, v_head, slots, count, stride_kt, stride_vt, scale, M, N, D)
    place = (row * parts_max + part) * HEADS + head
    tl.store(part_out + place[:, None] * D + d[None, :], result, mask=valid[:, None])
    tl.store(part_lse + place, lse, mask=valid)


@triton.jit
def _own_item(
    q_buffer,
    k_head,
    v_head,
    kv_indptr,
    kv_indices,
    table,
    part_out,
    part_lse,
    row,
    job,
    part,
    size,
    kv_head,
    rows_max,
    parts_max,
    scale,
    stride_q,
    stride_kt,
    stride_vt,
    HEADS: tl.constexpr,
    G: tl.constexpr,
    D: tl.constexpr,
    M: tl.constexpr,
    N: tl.constexpr,
):
    m = tl.arange(0, M)
    d = tl.arange(0, D)
    valid = m < G
    begin = tl.load(kv_indptr + row)
    start = tl.load(_column(table, 6, rows_max) + row) + job * size
    count = tl.minimum(tl.load(kv_indptr + row + 1) - begin - start, size)
    head = kv_head * G + m
    far = row.to(tl.int64)
    q = tl.load(q_buffer + far * stride_q + head[:, None] * D + d[None, :], mask=valid[:, None], other=0.0)
    slots = kv_indices + begin + start
    result, lse = _attend(q, k_head, v_head, slots, count, stride_kt, stride_vt, scale, M, N, D)
    place = (far * parts_max + part) * HEADS + head
    tl.store(part_out + place[:, None] * D + d[None, :], result, mask=valid[:, None])
    tl.store(part_lse + place, lse, mask=valid)


@triton.jit(do_not_specialize=["rows", "rows_max", "parts_max"])
def attend_kernel(
    q_buffer,
    k_buffer,
    v_buffer,
    kv_indptr,
    kv_indices,
    table,
    items,
    offsets,
    state,
    part_out,
    part_lse,
    rows,
    rows_max,
    parts_max,
    scale,
    stride_q,
    stride_kt,
    stride_kh,
    stride_vt,
    stride_vh,
    HEADS: tl.constexpr,
    KV: tl.constexpr,
    D: tl.constexpr,
    M_SEGMENT: tl.constexpr,
    M_OWN: tl.constexpr,
    N: tl.constexpr,
    N_OWN: tl.constexpr,
):
    """Grid: at least items x key-value heads; the heads of an item side by side, as their keys are in memory."""
    G: tl.constexpr = HEADS // KV
    kv_head = tl.program_id(0) % KV
    number = tl.program_id(0) // KV
    if number < tl.load(state):
        size = tl.load(state + 1)
        item = tl.load(items + number)
        unit = item // _JOB
        job = item % _JOB
        part = tl.load(offsets + unit) + job
        k_head = k_buffer + kv_head * stride_kh
        v_head = v_buffer + kv_head * stride_vh
        if unit < rows:
            _segment_item(
                q_buffer,
                k_head,
                v_head,
                kv_indptr,
                kv_indices,
                table,
                part_out,
                part_lse,
                unit,
                job,
                part,
                size,
                kv_head,
                rows_max,
                parts_max,
                scale,
                stride_q,
                stride_kt,
                stride_vt,
                HEADS,
                G,
                D,
                M_SEGMENT,
                N,
            )
        else:
            _own_item(
                q_buffer,
                k_head,
                v_head,
                kv_indptr,
                kv_indices,
                table,
                part_out,
                part_lse,
                unit - rows,
                job,
                part,
                size,
                kv_head,
                rows_max,
                parts_max,
                scale,
                stride_q,
                stride_kt,
                stride_vt,
                HEADS,
                G,
                D,
                M_OWN,
                N_OWN,
            )


@triton.jit(do_not_specialize=["parts_max"])
def merge_kernel(
    part_out,
    part_lse,
    parts,
    out,
    stride_out,
    parts_max,
    HEADS: tl.constexpr,
    D: tl.constexpr,
    P: tl.constexpr,
):
    """Grid: rows x heads."""
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1)
    count = tl.load(parts + row)
    d = tl.arange(0, D)
    result = tl.zeros([D], tl.float32)
    highest = -float("inf")
    total = 0.0
    for at in tl.range(0, count, P):
        part = at + tl.arange(0, P)
        place = (row * parts_max + part) * HEADS + head
        lse = tl.load(part_lse + place, mask=part < count, other=-float("inf"))
        each = tl.load(part_out + place[:, None] * D + d[None, :], mask=(part < count)[:, None], other=0.0)
        new = tl.maximum(highest, tl.max(lse, 0))
        weight = tl.exp2(lse - new)
        fade = tl.exp2(highest - new)
        result = result * fade + tl.sum(each * weight[:, None], 0)
        total = total * fade + tl.sum(weight, 0)
        highest = new
    tl.store(out + row * stride_out + head * D + d, (result / total).to(out.dtype.element_ty))
