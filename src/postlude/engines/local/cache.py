"""The keys and values of decoding: long prompts once per group, everything else in a cache per sequence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from postlude.batch import Batch
from postlude.engines.local.attention import Block, Options, Packed, block_of, cap, softmax_with_sinks
from postlude.engines.local.model import LocalModel
from postlude.engines.local.spans import Spans, ranges, similar
from postlude.sizing.work import columns


@dataclass(frozen=True)
class Past:
    """The first tokens of prompts, of which keys and values are known: the packed row then holds only the rest."""

    length: Tensor
    """[G] tokens; 0 where nothing is known."""
    rows: Tensor
    """[N, W] keys and values of all of them, prompt after prompt; layers side by side, as they are called."""


class PromptCache(Packed):
    """Packed attention over prompts that also keeps every layer's keys and values, [G, P, Hkv, D].

    Of prompts with a `past` the row holds the rest, at the positions behind it. In attention the keys of the known
    tokens stand behind those of the row: row T + n is token n of the past.
    """

    def __init__(self, batch: Batch, past: Past | None = None) -> None:
        spans = Spans.of(batch)
        if past is None:
            self.length, self.table = spans.prompt_length, ranges(spans.prompt_start, spans.prompt_length)
            super().__init__(batch)
        else:
            self.length, self.table = past.length + spans.prompt_length, _whole(batch, spans, past)
            super().__init__(batch, _continuing(batch, spans, past, self.table))
        self.past = past
        """Needed until the prompts are computed."""
        self._column = 0
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        if self.past is not None:
            key, value = self._with_past(key, self.past), self._with_past(value, self.past)
        rows = self.table.clamp(min=0)
        self.keys[layer], self.values[layer] = key[rows], value[rows]
        return super().attend(layer, query, key, value, options)

    def _with_past(self, x: Tensor, past: Past) -> Tensor:
        """[T + N, Hkv, D] keys or values of a layer, whose known ones are the next columns of the past."""
        width = x[0].numel()
        known = past.rows.narrow(1, self._column, width)
        self._column += width
        return torch.cat([x, known.unflatten(1, x.shape[1:])])

    def first(self) -> Tensor:
        """[P, W] keys and values of the first prompt, layers side by side."""
        return torch.cat([x[0].flatten(1) for n in self.keys for x in (self.keys[n], self.values[n])], 1)


def _whole(batch: Batch, spans: Spans, past: Past) -> Tensor:
    """[G, P] rows of whole prompts: those of the past, then those of the packed row; -1 beyond their ends."""
    known = past.length[:, None]
    behind = batch.tokens.shape[0] + torch.cumsum(past.length, 0) - past.length
    place = ranges(torch.zeros_like(past.length), past.length + spans.prompt_length)
    rows = torch.where(place < known, place + behind[:, None], place - known + spans.prompt_start[:, None])
    return torch.where(place < 0, -1, rows)


def _continuing(batch: Batch, spans: Spans, past: Past, table: Tensor) -> list[Block]:
    """Who attends to whom where some prompts have a past: each query to the whole of its prompt."""
    known = ranges(torch.zeros_like(past.length), past.length)
    position = torch.cat([batch.position, known[known >= 0]])
    total = past.length + spans.prompt_length
    blocks: list[Block] = []
    for new in (True, False):
        groups = ((past.length == 0) == new).nonzero().squeeze(1)
        for part in similar(spans.prompt_length[groups], 1.5, past.length[groups]):
            g = groups[part]
            queries = ranges(spans.prompt_start[g], spans.prompt_length[g])
            blocks.append(block_of(position, queries, table[g, : int(total[g].max())], plain=new))
    return blocks


def token_bytes(model: LocalModel) -> int:
    """Keys and values of one token in every layer."""
    config = model.config
    heads = config.__dict__.get("num_key_value_heads") or config.num_attention_heads
    width = config.__dict__.get("head_dim") or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * heads * width * torch.finfo(model.dtype).bits // 8


class Decode:
    """One new token per sequence. All sequences write the same column of the cache at the same time.

    A sequence's own columns begin where it was admitted, or its prompt's length before that where the prompt is copied;
    what lies before is masked. Finished sequences leave through `keep`, new ones come in through `admit`. Keys are
    stored transposed, [S Hkv, D, columns]: the product with them is twice as fast on a CPU.
    """

    def __init__(self, shared: bool, longest: int) -> None:
        self._shared, self._longest = shared, longest
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._prompt_keys: dict[int, Tensor] = {}
        self._prompt_values: dict[int, Tensor] = {}
        self.time = 0
        """The column written next."""

    # ------------------------------------------------------------------------------------- coming and going

    def admit(self, prompts: PromptCache, owner: Tensor) -> None:
        """New sequences behind those that are here; `owner` [S]: the row of `prompts` of each, ascending."""
        first = not self._keys and not self._prompt_keys
        if first:
            self.owner, self._begin = owner[:0], owner[:0]
            self._prompt_length = prompts.length[:0]
        lengths = torch.zeros_like(owner) if self._shared else prompts.length[owner]
        missing = max(0, int(lengths.max()) - self.time)
        if missing:
            self._shift(missing)
        self.owner = torch.cat([self.owner, owner + self._prompt_length.shape[0]])
        self._prompt_length = torch.cat([self._prompt_length, prompts.length])
        self._begin = torch.cat([self._begin, self.time - lengths])
        for layer in prompts.keys:
            if self._shared:
                self._add_prompts(layer, prompts)
            else:
                self._add_copies(layer, prompts, owner)
        if self._shared and not first:
            for cache in (self._keys, self._values):
                for layer, x in cache.items():  # zeros: what is masked must not be NaN
                    heads = x.shape[0] // (self.owner.shape[0] - owner.shape[0])
                    cache[layer] = torch.cat([x, x.new_zeros(owner.shape[0] * heads, *x.shape[1:])])
        self._arrange()

    def _add_prompts(self, layer: int, prompts: PromptCache) -> None:
        """[G, Hkv, D, P] keys and [G, Hkv, P, D] values of prompts that their group shares."""
        k = prompts.keys[layer].permute(0, 2, 3, 1).contiguous()
        v = prompts.values[layer].transpose(1, 2).contiguous()
        if layer in self._prompt_keys:
            k, v = _stacked(self._prompt_keys[layer], k, 3), _stacked(self._prompt_values[layer], v, 2)
        self._prompt_keys[layer], self._prompt_values[layer] = k, v

    def _add_copies(self, layer: int, prompts: PromptCache, owner: Tensor) -> None:
        """Columns time - length to time - 1 of each new sequence hold its prompt."""
        lengths = prompts.length[owner]
        widest = int(lengths.max())
        place = (
            torch.arange(widest, device=owner.device) - (widest - lengths)[:, None]
        )  # aligned right, negative before
        seen = (place >= 0)[:, :, None, None]
        rows = owner[:, None], place.clamp(min=0)
        k = torch.where(seen, prompts.keys[layer][rows], 0).permute(0, 2, 3, 1).flatten(0, 1)
        v = torch.where(seen, prompts.values[layer][rows], 0).transpose(1, 2).flatten(0, 1)
        k, v = F.pad(k, (self.time - widest, 0)), F.pad(v, (0, 0, self.time - widest, 0))
        if layer in self._keys:
            room = self._keys[layer].shape[2] - self.time
            k = torch.cat([self._keys[layer], F.pad(k, (0, room))])
            v = torch.cat([self._values[layer], F.pad(v, (0, 0, 0, room))])
        self._keys[layer], self._values[layer] = k, v

    def _shift(self, columns: int) -> None:
        """Move everything to the right, to make room for a longer prompt."""
        for layer in self._keys:
            self._keys[layer] = F.pad(self._keys[layer], (columns, 0))
            self._values[layer] = F.pad(self._values[layer], (0, 0, columns, 0))
        self.time += columns
        self._begin = self._begin + columns

    def keep(self, rows: Tensor) -> None:
        """Only these sequences (ascending, at least one) go on; columns that none of them uses are dropped."""
        before = self.owner.shape[0]
        self._begin = self._begin[rows]
        unused = int(self._begin.min())
        for cache, axis in ((self._keys, 2), (self._values, 1)):
            for layer, x in cache.items():
                x = x.narrow(axis, unused, x.shape[axis] - unused).unflatten(0, (before, -1))
                cache[layer] = x.index_select(0, rows).flatten(0, 1)
        self.time -= unused
        self._begin = self._begin - unused
        groups, self.owner = torch.unique_consecutive(self.owner[rows], return_inverse=True)
        if groups.shape[0] < self._prompt_length.shape[0]:
            self._prompt_length = self._prompt_length[groups]
            widest = int(self._prompt_length.max())
            for layer in self._prompt_keys:
                self._prompt_keys[layer] = self._prompt_keys[layer][..., :widest].index_select(0, groups)
                self._prompt_values[layer] = self._prompt_values[layer][:, :, :widest].index_select(0, groups)
        self._arrange()

    def rows(self, row: int, start: int, stop: int) -> Tensor:
        """[n, W] keys and values of tokens `start` to `stop` - 1 of a sequence, layers side by side; a copy."""
        group, begin = int(self.owner[row]), int(self._begin[row])
        shared = int(self._prompt_length[group]) if self._shared else 0
        parts: list[Tensor] = []
        if start < shared:
            layers = ((k[group], self._prompt_values[n][group]) for n, k in self._prompt_keys.items())
            parts.append(_side_by_side(layers, start, min(stop, shared)))
        if stop > shared:
            each = len(self.owner)
            layers = (
                (k.unflatten(0, (each, -1))[row], self._values[n].unflatten(0, (each, -1))[row])
                for n, k in self._keys.items()
            )
            parts.append(_side_by_side(layers, begin + max(start - shared, 0), begin + stop - shared))
        return torch.cat(parts)

    def _arrange(self) -> None:
        """Tables that view queries by group, and what is masked, from owner, begin and prompt lengths."""
        device = self.owner.device
        length = self._prompt_length[self.owner]
        before = torch.arange(self.time, device=device) < self._begin[:, None]
        self._first = length - self._begin if self._shared else -self._begin
        self._widest = 0
        if self._shared:
            count = torch.bincount(self.owner, minlength=self._prompt_length.shape[0])
            start = torch.cumsum(count, 0) - count
            table = ranges(start, count)
            self._groups, self._most = table.shape
            self._even = bool((table >= 0).all())
            self._table = table.clamp(min=0).reshape(-1)
            within = torch.arange(self.owner.shape[0], device=device) - start[self.owner]
            self._back = self.owner * self._most + within
            self._widest = int(self._prompt_length.max())
            before = torch.cat([torch.arange(self._widest, device=device) >= length[:, None], before], 1)
        self._hidden = before if bool(before.any()) else None

    @property
    def position(self) -> Tensor:
        """[S] position of the token being decoded."""
        return self._first + self.time

    @property
    def prompt_tokens(self) -> int:
        """Tokens held for prompts beside the columns."""
        return self._widest * self._groups if self._shared else 0

    # --------------------------------------------------------------------------------------------- attention

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, options: Options) -> Tensor:
        """[S, H, D] from one query, key and value per sequence."""
        s, h, d = query.shape
        heads = key.shape[1]
        own_k, own_v = self._store(layer, key.reshape(s * heads, d), value.reshape(s * heads, d))
        q = query.reshape(s * heads, h // heads, d)
        if options.scale != 1:
            q = q * options.scale
        scores = torch.bmm(q, own_k)
        if self._shared:
            scores = torch.cat([self._prompt_scores(layer, q, heads), scores], -1)
        weights = self._softmax(scores, options, heads).to(value.dtype)
        if self._shared:
            out = torch.bmm(weights[..., self._widest :], own_v)
            out += self._prompt_part(layer, weights[..., : self._widest], heads)
        else:
            out = torch.bmm(weights, own_v)
        return out.view(s, h, d)

    def _softmax(self, scores: Tensor, options: Options, heads: int) -> Tensor:
        if scores.dtype in (torch.bfloat16, torch.float16):
            scores = scores.float()
        scores = cap(scores, options.softcap)
        blocked = self._blocked(options.window, scores.shape[-1])
        if blocked is not None:
            scores.unflatten(0, (-1, heads)).masked_fill_(blocked[:, None, None, :], -float("inf"))
        if options.sinks is None:
            return torch.softmax(scores, -1)
        rows = scores.reshape(self.owner.shape[0], -1, 1, scores.shape[-1])
        return softmax_with_sinks(rows, options.sinks).reshape(scores.shape)

    def _store(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Write this step's [S Hkv, D]; the keys [S Hkv, D, time + 1] and values [S Hkv, time + 1, D] so far."""
        if layer not in self._keys or self.time >= self._keys[layer].shape[2]:
            self._grow(layer, key)
        keys, values = self._keys[layer], self._values[layer]
        keys.select(2, self.time).copy_(key)
        values.select(1, self.time).copy_(value)
        return keys.narrow(2, 0, self.time + 1), values.narrow(1, 0, self.time + 1)

    def _grow(self, layer: int, like: Tensor) -> None:
        room = max(32, 2 * self.time)
        for limit in (columns(self._longest), self._longest):
            if self.time < limit < room:
                room = limit
        keys, values = like.new_zeros(*like.shape, room), like.new_zeros(like.shape[0], room, like.shape[1])
        if layer in self._keys:
            keys[..., : self.time] = self._keys[layer][..., : self.time]
            values[:, : self.time] = self._values[layer][:, : self.time]
        self._keys[layer], self._values[layer] = keys, values

    def _prompt_scores(self, layer: int, q: Tensor, heads: int) -> Tensor:
        """[S Hkv, R, P]: one product per group."""
        return self._by_sequence(self._by_group(q, heads) @ self._prompt_keys[layer], q.shape[1])

    def _prompt_part(self, layer: int, weights: Tensor, heads: int) -> Tensor:
        """[S Hkv, R, D] what the prompt's values contribute."""
        return self._by_sequence(self._by_group(weights, heads) @ self._prompt_values[layer], weights.shape[1])

    def _by_group(self, x: Tensor, heads: int) -> Tensor:
        """[S Hkv, R, X] -> [G, Hkv, n R, X], sequences of a group side by side."""
        x = x.reshape(-1, heads, *x.shape[1:])
        if not self._even:
            x = x.index_select(0, self._table)
        x = x.reshape(self._groups, self._most, *x.shape[1:]).transpose(1, 2)
        return x.reshape(self._groups, heads, -1, x.shape[4])

    def _by_sequence(self, x: Tensor, repeat: int) -> Tensor:
        """The inverse of `_by_group`."""
        heads, last = x.shape[1], x.shape[3]
        x = x.reshape(self._groups, heads, self._most, repeat, last).transpose(1, 2)
        x = x.reshape(self._groups * self._most, heads, repeat, last)
        if not self._even:
            x = x.index_select(0, self._back)
        return x.reshape(-1, repeat, last)

    def _blocked(self, window: int | None, columns: int) -> Tensor | None:
        """[S, columns] bool of keys out of reach: prompt padding, columns before a beginning, beyond the window."""
        if self._hidden is not None and self._hidden.shape[1] < columns:
            self._hidden = F.pad(self._hidden, (0, columns - self._hidden.shape[1]))
        if window is None:
            return self._hidden
        sampled = columns - self._widest
        device = self.owner.device
        prompt = torch.arange(self._widest, device=device).expand(self.owner.shape[0], -1)
        places = self._first[:, None] + torch.arange(sampled, device=device)
        far = self.position[:, None] - torch.cat([prompt, places], 1) >= window
        return far if self._hidden is None else far | self._hidden


def _side_by_side(layers: Iterable[tuple[Tensor, Tensor]], start: int, stop: int) -> Tensor:
    """[n, W] of columns `start` to `stop` - 1 of every layer's keys [Hkv, D, X] and values [Hkv, X, D]."""
    parts: list[Tensor] = []
    for keys, values in layers:
        parts.append(keys[:, :, start:stop].permute(2, 0, 1).flatten(1))
        parts.append(values[:, start:stop].transpose(0, 1).flatten(1))
    return torch.cat(parts, 1)


def _stacked(a: Tensor, b: Tensor, axis: int) -> Tensor:
    """Both along the first axis, padded with zeros to the longer of `axis`."""
    width = max(a.shape[axis], b.shape[axis])

    def padded(x: Tensor) -> Tensor:
        return F.pad(x, (0, 0) * (x.ndim - 1 - axis) + (0, width - x.shape[axis]))

    return torch.cat([padded(a), padded(b)])
