"""Which values a text does not state as its answer, although it names them: what it supposes, what it has not finished,
what others say, what only bounds the answer.

The rule is what a reader would say that the text commits itself to. "Probably", "I think", "about" and "should be"
commit it to the value; "might be", "perhaps", "the book says" and "so far" do not.
"""

from __future__ import annotations

import re

_CHARACTERS = 160
_CLAUSE_START = re.compile(
    r"[;!?]|\n(?!\W{0,12}$)|\.\s|\b(?:but|so(?!\s(?:far|that|many|much)\b)|hence|therefore|thus|however|yet)\b",
    re.IGNORECASE,
)

_VERB = r"""(?:is|are|was|were|equals|becomes|comes\sto|turns\sout\sto\sbe|be
    |(?:would|will|should|must|might|may|could|can)(?:\s(?:\w{1,12}ly|then|still|also|well))?\s(?:be|equal|become|have\sbeen))"""
_VALUE = r"(?:\s(?:just|simply|exactly|only|indeed|equal\sto))?[\s:,]{0,3}(?:[$(\[\\*\s]|\\text\{|[A-Za-z]\s?=){0,6}$"
_NOUN = r"(?:the|my|our|your|its|this|that)(?:\s(?!and\b|because\b|that\b)[\w$\\{}'^-]{1,20}){1,8}?"
_STATEMENT = rf"\s?,?\s(?:that\s)?(?:{_NOUN}|it|this|that|there)\s{_VERB}{_VALUE}"
_THE_ANSWER = rf"\s(?:that\s)?(?:the|my|our|his|her)\s(?:\w{{1,12}}\s)?(?:answer|result|solution)\s{_VERB}{_VALUE}"
_ANSWER = r"(?:answer|result|solution|value|total|count|number|sum|product|area|probability|it|this|that|which)"

_SAYS = r"""(?:says?|said|claim(?:s|ed)?|stat(?:es|ed)|assert(?:s|ed)|insist(?:s|ed)|thinks?|thought|believe[sd]?|wrote
    |suggest(?:s|ed)|report(?:s|ed))"""
_SOURCE = r"""(?:(?:the|my|your|our|this|that|a|some|one)\s(?:\w{1,12}\s)?(?:book|textbook|author|teacher|professor
    |friend|classmate|colleague|user|prompt|website|internet|forum|article|manual|answers?\skey|key)
    |wikipedia|the\sweb|google|chatgpt)"""

_POSSIBLE = re.compile(
    rf"""\b(?:
     might(?:\s(?:well|also|still|even|then|just))?\s(?:be|equal)(?!\s?:){_VALUE}
    |{_ANSWER}\s(?:may|could)(?:\s(?:well|also|still|even|then|just|possibly))?\s(?:be|equal)(?!\s?:){_VALUE}
    |(?:perhaps|maybe|possibly|conceivably){_VALUE}
    |(?:(?:perhaps|maybe|possibly|conceivably)(?!\s(?:the|a)\s(?:\w{{1,12}}\s){{0,2}}(?:way|form)\b)
      |(?:it|this)(?:(?:\sis|'s)\s(?:possible|conceivable)|\s(?:may|might|could)\s(?:well\s)?be)(?=\sthat\b)
      |whether){_STATEMENT}
    |(?<!only\s)if{_THE_ANSWER}
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_ATTRIBUTED = re.compile(
    rf"""\b(?:
     {_SOURCE}\s{_SAYS}{_STATEMENT}
    |(?:you|they|he|she)\s{_SAYS}{_THE_ANSWER}
    |according\sto\s{_SOURCE}{_STATEMENT}
    |(?:supposedly|allegedly|reportedly|purportedly)(?:{_VALUE}|{_STATEMENT})
    |rumou?r\shas\sit{_STATEMENT}
    |(?:it|this)\s(?:is|was|has\sbeen)\s(?:said|claimed|reported|rumou?red|alleged|conjectured){_STATEMENT}
    )
    |(?-i:\b[A-Z][a-z]{{1,12}})\s(?:said|claim(?:s|ed)|insist(?:s|ed)|thinks|thought|believe[sd])
     {_THE_ANSWER}""",
    re.IGNORECASE | re.VERBOSE,
)
_DENIED = re.compile(
    rf"""\b(?:
     (?:can(?:not)?|could)\s(?:hardly|scarcely|barely|never|possibly|not\spossibly|in\sno\sway)\s(?:be|equal){_VALUE}
    |(?:in\sno\sway|no\slonger|nowhere\snear|far\sfrom|hardly|scarcely|neither(?:\s[^.;]{{1,40}}\snor)?)(?!\s?:){_VALUE}
    |suppose[^,.]{{0,20}}{_STATEMENT}
    |(?:there\sis\sno\sway|(?:refuse|(?<!not\s)(?:hard|difficult))\sto\sbelieve|impossible|unlikely|doubtful|untrue|absurd
       |not\s(?:possible|plausible|sure|certain|convinced))(?!,){_STATEMENT}
    |(?:nobody|no\sone|no-one|never|none\sof\sus)\s(?:would\s|could\s|should\s|will\s)?{_SAYS}{_STATEMENT}
    |(?:mistake|error|wrong|incorrect|false|na[iï]ve|premature)\sto\s(?:answer|say|write|claim|conclude|give|think|state)
     (?:{_VALUE}|{_STATEMENT})
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_UNFINISHED = re.compile(
    rf"""\b(?:
     (?:(?:(?<![a-z]\s)|(?<=\band\s)|(?<=\bthat\s))
         (?:so\sfar|for\snow|for\sthe\smoment|for\sthe\stime\sbeing|up\sto\snow|until\snow|at\sthis\sstage)){_STATEMENT}
    |(?:provisional|preliminary|interim|tentative|intermediate|partial|temporary)
     \s(?:final\s)?(?:answer|result|guess|estimate)(?:\s(?:is|was|of|would\sbe))?{_VALUE}
    |(?:earlier|previous|former)\s(?:answer|guess|estimate)\s(?:is|was){_VALUE}
    |(?<![a-z]\s)(?:my|our|the|an)\s(?:earlier|previous|former)\s(?:answer|guess|estimate)\sof{_VALUE}
    |{_ANSWER}\sused\sto\sbe{_VALUE}
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_BOUND = re.compile(
    rf"""\banswer\s(?:\w{{1,12}}\s)?(?:is|was|lies|be)\s(?:\w{{1,12}}ly\s)?
     (?:at\s(?:least|most)|no\s(?:more|less|greater|smaller|larger|bigger|fewer)\sthan|just\s(?:under|over|below|above|short\sof|shy\sof)
       |close\sto|near|nearly|almost|(?:somewhere\s)?between(?:\s[^.;]{{1,40}}\sand)?|more\sthan|less\sthan|over|under|below|above)
     (?!\s?[:\n]){_VALUE}""",
    re.IGNORECASE | re.VERBOSE,
)
_UNFINISHED_BEHIND = re.compile(
    r"""[\s$)\]*\\,]{0,6}\s(?:so\sfar\b|for\snow\b|for\sthe\smoment\b|up\sto\snow\b|until\snow\b|at\sthis\sstage\b|until\s(?:we|you|one|i)\b
    |before\s(?:(?:any|the|we|you|one|i)\s)?(?:\w{1,12}\s)?
     (?:reduction|simplif\w{1,8}|reduc(?:e|ing)|round(?:ing)?|correct(?:ion|ing)?s?|adjust(?:ment|ing)?s?|remov(?:e|ing)|subtract(?:ion|ing)?
       |add(?:ition|ing)?|divi(?:de|ding|sion)|multipl(?:y|ying|ication)|discard(?:ing)?|account(?:ing)?|exclud(?:e|ing)|normali[sz]\w{1,6})\b)""",
    re.IGNORECASE | re.VERBOSE,
)
_BEFORE = re.compile(
    rf"\bbefore\s(?:any\s|the\s)?(?:reduction|simplification|simplifying|reducing|rounding|corrections?|adjustments?){_STATEMENT}",
    re.IGNORECASE | re.VERBOSE,
)
_WAS_ASKED = re.compile(rf"\b(?<!answer\s)(?<!result\s)(?:was|were|had){_VALUE}", re.IGNORECASE)
"""Before a value of the past, which a problem may ask for: "the price was 50 before the reduction"."""
_ANSWER_MEANT = re.compile(r"\bthe\s(?:\w{1,12}\s)?answer\b(?!\sis(?:\sthat\b|\s?:))", re.IGNORECASE)
_WOULD = re.compile(
    rf"""(?P<subject>\b(?:it|this|that|one|answer|result)\s)?\bwould\s(?:\w{{1,12}}\s|the\sanswer\s)?
     (?:be|equal|become|have\sbeen|have\sthe\sanswer){_VALUE}""",
    re.IGNORECASE | re.VERBOSE,
)
"""With a subject that may stand for the answer; other subjects ("the area would be") are what a problem asks for."""
_PAST = r"""(?:were(?:n't)?|had(?:n't)?|did(?:n't)?
    |(?<!are\s)(?<!is\s)(?<!be\s)(?<!are\salso\s)(?<!is\salso\s)(?<!are\snot\s)(?<!is\snot\s)
     (?:mattered|counted|allowed|asked|ignored|forgot|wanted|required|distinguished|insisted|treated|considered
       |included|excluded|dropped|removed|changed|replaced))\b"""
_IF = rf"\b(?:if|unless|provided|assuming)\b[^.;!?\n]{{1,80}}?\b{_PAST}"
"""A condition that does not hold, of an answer that would be another one. "If x = 2" may be the problem's own."""
_UNREAL = re.compile(rf"{_IF}|^\W{{0,6}}(?:had|were)\s", re.IGNORECASE | re.VERBOSE)
_UNREAL_BEHIND = re.compile(rf"[\s$)\]*\\,]{{0,6}}(?:{_IF}|\b(?:had|were)\s)", re.IGNORECASE | re.VERBOSE)

CONFIRMED = re.compile(
    r"\b(?:is|was|'s|are)(?: (?!not\b)\w+)? (?:correct|right|confirmed|verified|consistent)\b"
    r"|(?:^|[.!:]\s)(?:correct|confirmed|verified)\b|\b(?:checks out|still holds|stands|yes)\b|✓|✅",
    re.IGNORECASE,
)
"""What confirms a value that was in doubt, behind it."""


def is_supposed(text: str, start: int, end: int | None = None) -> bool:
    """Whether a text only supposes a value that it names.

    Args:
        text: The text.
        start: Where the value starts.
        end: Where it ends, if that is known: what follows counts then, too.
    """
    before = text[max(0, start - _CHARACTERS) : start]
    clause = _clause(before)
    if _POSSIBLE.search(clause) or _ATTRIBUTED.search(clause):
        return end is None or CONFIRMED.search(text, end, end + 4 * _CHARACTERS) is None
    if any(pattern.search(clause) for pattern in (_DENIED, _UNFINISHED, _BOUND)):
        return True
    unfinished = _BEFORE.search(clause) or (end is not None and _UNFINISHED_BEHIND.match(text, end))
    if unfinished and _WAS_ASKED.search(clause) is None:
        return True
    would = _WOULD.search(clause)
    if would is None or _ANSWER_MEANT.search(before if would["subject"] else clause) is None:
        return False
    return bool(_UNREAL.search(clause) or (end is not None and _UNREAL_BEHIND.match(text, end)))


def is_unfinished(value: str) -> bool:
    """Whether what is stated says of itself that it is not the end: "5 before rounding"."""
    return _UNFINISHED_BEHIND.search(value) is not None


def _clause(before: str) -> str:
    """The clause that a text ends in."""
    begin = 0
    for match in _CLAUSE_START.finditer(before):
        begin = match.end()
    return before[begin:]
