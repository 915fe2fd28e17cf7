"""The units that are known: exact factors to base units, in the spellings people write.

Base units are the metre, gram, second, ampere, kelvin and mole, a year (of 12 months, and no number of days), one of
each currency, a degree of angle and a radian. Sources: SI (9th edition); the yard and pound agreement of 1959.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True)
class Unit:
    """`factor` base units of what `powers` say: {"length": 2} is an area. Without powers it is a plain count."""

    factor: Fraction
    powers: Mapping[str, int] = field(default_factory=dict[str, int])
    changes: bool = field(default=False, compare=False)
    """Whether its words change or deny a number, as "doubled" and "incorrect" do: then they are never left out."""

    def times(self, other: Unit, power: int) -> Unit:
        powers = dict(self.powers)
        for name, n in other.powers.items():
            powers[name] = powers.get(name, 0) + n * power
        return Unit(self.factor * other.factor**power, {k: v for k, v in powers.items() if v})


ONE = Unit(Fraction(1))
_LETTERS = {"L": "length", "M": "mass", "T": "time", "I": "current", "K": "temperature", "N": "amount"}
_PREFIXES = {
    "T": ("tera", 12), "G": ("giga", 9), "M": ("mega", 6), "k": ("kilo", 3), "h": ("hecto", 2), "da": ("deca", 1),
    "d": ("deci", -1), "c": ("centi", -2), "m": ("milli", -3), "u": ("micro", -6), "n": ("nano", -9),
    "p": ("pico", -12), "f": ("femto", -15),
}  # fmt: skip
_RARE = frozenset({"h", "da", "d", "c"})
"""Prefixes of metre, gram, litre and pascal only."""
_NEVER = frozenset({"pm"})
"""Half of the day, and no picometre."""
_SCALED = """
L      1              m        meter metre
M      1              g        gram gramme
T      1              s        second
L3     1/1000         L l      liter litre
I      1              A        ampere amp
K      1              K        kelvin
N      1              mol      mole
LMT-2  1000           N        newton
L2MT-2 1000           J        joule
L2MT-3 1000           W        watt
L-1MT-2 1000          Pa       pascal
T-1    1              Hz       hertz
TI     1              C        coulomb
L2MT-3I-1 1000        V        volt
L2MT-3I-2 1000        Ω ohm    ohm
L-2M-1T4I2 1/1000     F        farad
MT-2I-1 1000          T        tesla
L2MT-2I-1 1000        Wb       weber
L2MT-2I-2 1000        H        henry
L2MT-2 1602176634/10000000000000000000000000 eV electronvolt
L2MT-2 4184           cal      calorie
L2MT-2 3600000        Wh       watthour
L-1MT-2 100000000     bar      -
"""
"""Powers, factor, symbols and names: with every prefix."""
_PLAIN = """
L      254/10000      in inch inches
L      3048/10000     ft foot feet
L      9144/10000     yd yard
L      1609344/1000   mi mile
L      1852           nmi
L      1/10000000000  Å angstrom ångström
L      149597870700   AU
L      9460730472580800 ly light-year lightyear
M      45359237/100000 lb lbs pound
M      45359237/1600000 oz ounce
M      1000000        tonne
M      1000           kilo
M      1              gm
M      1/1000000      mcg
T      1              sec
T      60             min minute
T      3600           h hr hour
T      86400          day
T      604800         week
T      1209600        fortnight
L3     3785411784/1000000000000 gal gallon
L3     946352946/1000000000000  qt quart
L3     473176473/1000000000000  pt pint
L3     2365882365/10000000000000 cup
L3     1/1000000      cc
L2     10000          ha hectare
L2     40468564224/10000000 acre
LT-1   1609344/3600000 mph
LT-1   1000/3600      kph kmh kmph
LT-1   1852/3600      knot
L2MT-2 1000           Nm
LMT-1  1000           Ns
TI     3600           Ah
TI     3600/1000      mAh
L2MT-2 1/10000        erg
LMT-2  1/100          dyn dyne
L-1MT-2 101325000     atm
T-1    1/60           rpm
K      5/9            rankine
"""
_MONEY = """
money     1    ¤ dollar USD
money     1/100 cent ¢ penny pennies
euro      1    € euro EUR
sterling  1    £ GBP
yen       1    ¥ yen JPY
rupee     1    ₹ rupee Rs INR
won       1    ₩ won KRW
yuan      1    yuan CNY RMB
"""
"""Kinds by themselves that are written before a number too, by a sign or a code in capitals."""
_OWN = """
year      1    year yr
year      1/12 month
year      10   decade
year      100  century
angle     1    ° degree deg
angle     1/60 arcminute arcmin
angle     1/3600 arcsecond arcsec
radian    1    rad radian
celsius   1    °C celsius
fahrenheit 1   °F fahrenheit
"""
"""Kinds by themselves."""
_COUNTS = ("unit", "th", "st", "nd", "rd")
"""What says nothing of the kind."""


def _powers(code: str) -> dict[str, int]:
    """L2MT-2 -> {"length": 2, "mass": 1, "time": -2}."""
    return {_LETTERS[letter]: int(power or 1) for letter, power in re.findall(r"([A-Z])(-?\d?)", code)}


def _rows(table: str) -> Iterator[list[str]]:
    return (line.split() for line in table.split("\n") if line)


def _scaled() -> Iterator[tuple[str, Unit]]:
    for code, factor, *words in _rows(_SCALED):
        unit = Unit(Fraction(factor), _powers(code))
        symbols = words[: 2 if words[1] in ("l", "ohm") else 1]
        names = [w for w in words[len(symbols) :] if w != "-"]
        yield from ((w, unit) for w in symbols + names)
        for short, (long, exponent) in _PREFIXES.items():
            if short in _RARE and symbols[0] not in ("m", "g", "L", "Pa"):
                continue
            larger = Unit(unit.factor * Fraction(10) ** exponent, unit.powers)
            yield from ((short + s, larger) for s in symbols if short + s not in _NEVER)
            yield from ((long + n, larger) for n in names)


def _all() -> dict[str, Unit]:
    known = dict(_scaled())
    for code, factor, *words in _rows(_PLAIN):
        known |= {w: Unit(Fraction(factor), _powers(code)) for w in words}
    for kind, factor, *words in _rows(_MONEY + _OWN):
        known |= {w: Unit(Fraction(factor), {kind: 1}) for w in words}
    return known | dict.fromkeys(_COUNTS, ONE)


KNOWN: dict[str, Unit] = _all()
"""In its own spelling, capitals count: mW is no MW."""
_MONEYS = frozenset(word for _, _, *words in _rows(_MONEY) for word in words)
CURRENCIES = frozenset(word for word in _MONEYS if not word.isalpha())
CODES = frozenset(word for word in _MONEYS if word[0].isupper())
SIGNS = "".join(sorted({c for name in KNOWN for c in name if not c.isascii()}))
"""What units are written with besides letters of English."""
