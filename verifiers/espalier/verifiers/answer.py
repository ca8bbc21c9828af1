"""What a text states as its answer, given how it will be judged. The only place that reads answers out of texts.

Solving and training, services and command lines all ask :func:`answer_of`, :func:`final_answer` and
:func:`branch_answer`, so that one text gets one verdict. Every function takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import takewhile
from types import MappingProxyType

from espalier.verifiers.check import Check, Claim, CustomCheck, PatchCheck, ProgramCheck
from espalier.verifiers.supposed import CONFIRMED, is_supposed, is_unfinished
from espalier.verifiers.verdict import Evidence, Status, Verdict


class Found(StrEnum):
    """How an answer was found in a text."""

    BARE = "the whole text"
    BOXED = "the last boxed expression"
    PHRASE = "the final answer phrase"
    MATH = "the last displayed or inline mathematics"
    LINE = "the last line"
    FENCE = "the last fenced program"
    PATCH = "the fenced diffs, or the fenced files with their paths"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer and where it came from.

    Attributes:
        text: The answer, without the marks around it.
        found: How it was found.
        boxes: How many boxed expressions the text has.
    """

    text: str
    found: Found
    boxes: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """A fenced program and the language tag of its fence ("" without one)."""

    source: str
    language: str


LONGEST = 4096
"""Characters of an answer that stands outside of a box; the rest of a longer one is not read."""

BASES: Mapping[str, int] = MappingProxyType(
    {
        **{"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10},
        **{"eleven": 11, "twelve": 12, "sixteen": 16, "binary": 2, "octal": 8, "hexadecimal": 16},
    }
)
"""Names of bases of numerals."""

STATEMENTS = 64
"""How many of the last boxes and phrases that could state an answer are looked at, where the later ones are denied."""

LANGUAGE_TAGS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "python": frozenset({"python", "py", "python3", "py3"}),
        "cpp": frozenset({"cpp", "c++", "cc", "cxx", "cplusplus"}),
        "javascript": frozenset({"javascript", "js", "node", "nodejs", "mjs"}),
        "c": frozenset({"c", "c99", "c11", "c17"}),
        "java": frozenset({"java"}),
        "go": frozenset({"go", "golang"}),
        "rust": frozenset({"rust", "rs"}),
    }
)
"""How a fence may name a language of :class:`~espalier.verifiers.check.ProgramCheck`."""

_LANGUAGES = frozenset[str]().union(*LANGUAGE_TAGS.values())

_THINK_END = re.compile(r"</think(?:ing)?>")
_THINK = re.compile(r"<think(?:ing)?>")
_TURN_END = re.compile(r"<\|(?:im_end|endoftext|eot_id)\|>|<\|im_start\|>\s*user")
_BLOCK_END = "</takeaway>"
_BOX = re.compile(r"(?:\\|\x08)(?:boxed|framebox|fbox|oxed)(?![A-Za-z])\s*|(?<![A-Za-z\\])boxed(?=\{)")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_COMMAND = re.compile(r"\\[A-Za-z]+|\\.", re.DOTALL)

# Between two boxes that are one answer: signs, spaces, "and", "or", and the name of the next value ("y =").
_GLUE = re.compile(
    r"(?:[\s$,;&.]|\\[,;:! ()\[\]]|\\(?:quad|qquad|text|mathrm|textrm)\b|[{}]|\\\\|\b(?:and|or|und|et)\b){0,40}"
    r"(?P<name>[A-Za-z](?:_\{?\w{1,3}\}?)?\s*=\s*)?[\s$]{0,4}"
)
_NAME = re.compile(r"(?<![A-Za-z\\])(?P<name>[A-Za-z](?:_\{?\w{1,3}\}?)?\s*=\s*)[\s$]{0,4}$")
_PERCENT = re.compile(r"\s{0,2}(?:\\[)\]]|\$)?\s{0,2}(?:\\?%|per\s?cent\b|pct\b)", re.IGNORECASE)
_BEHIND = r"(?:[\s$]|\\[)\],; ~]|\*\*|\((?=base)|\\(?:text|textrm|mathrm|mbox)\s?\{){0,5}"
_SCALED = re.compile(
    rf"{_BEHIND}(?<![\w}}])(?P<scale>hundred|thousand|million|billion|trillion|dozens?)\b(?!-)", re.IGNORECASE
)
_IN_BASE = re.compile(
    rf"{_BEHIND}(?<![\w}}])(?:(?:when\s)?(?:written|expressed)\s)?(?:in\s(?:\\text\{{)?)?"
    rf"(?:base[\s~-]{{0,2}}(?:\}})?[\s$(\\]{{0,3}}(?P<base>\d{{1,2}}|{'|'.join(BASES)})\b(?!\s(?:unit|case|times))|(?<=in\s)(?P<named>binary|octal|hexadecimal)\b)",
    re.IGNORECASE,
)
_DEGREES = re.compile(r"\s{0,2}(?:\^\s?\{?\s?\\circ\b\s?\}?|°)")

_RETRACTED = re.compile(
    r"\b(?:wait|hold on|scratch that|oops|on second thought|i take (?:that|it) back)\b"
    r"|\b(?:that|this|it|which|above|answer|result|value|box)(?:'s| is| was| were| can(?:'t|not) be| isn't| wasn't)"
    r"(?: (?:clearly|obviously|actually|still))? "
    r"(?:not (?:right|correct|it|the answer|possible)|wrong|incorrect|a mistake|an error|right\?)"
    r"|\b(?:this|that|it) is (?:wrong|incorrect)\b"
    r"|^\W{0,6}(?:is|was) (?:wrong|incorrect|not (?:correct|right|the answer))|\b(?:this|that|it) is false\s?[.!]"
    r"|\b(?:they|he|she) (?:is|are|was|were) (?:wrong|mistaken|incorrect)\b|\bi doubt (?:it|that|this)\b"
    r"|\b(?:that|this|it) (?:cannot|can't) be\s?[.!]|\bdoes(?: not|n't) (?:look|seem|sound) (?:right|correct)\b"
    r"|\b(?:ignore|disregard|forget) (?:that|this|it|the above|what i)\b|\bjust kidding\b|\bnever ?mind\b|\btry again\b"
    r"|\bshould (?:read|say)\b|\bedit:|\bif i am wrong\b"
    r"|\bi (?:made|see) (?:a|an|my) (?:\w+ )?(?:mistake|error|slip)\b|\bi was wrong\b|\bi miscalculated\b"
    r"|\bcorrection\b|\b(?:should|must) (?:actually |instead |rather |really )?(?:be|have been) "
    r"(?!(?:the|our|a|correct|right|true) )"
    r"|(?:^\W{0,6}|[.!;]\s{1,2}|\b(?:but|however|yet|though|although|unfortunately),? )(?:it|this|that|which|we|i) "
    r"(?:also |actually |clearly )?(?:over-?count|under-?count|double[- ]count|counts? (?:\w+ ){0,4}twice\b"
    r"|forg[eo]t|miss(?:es|ed)\b|overlook|ignor|neglect|omit)"
    r"|(?:^|[.!?]\s|\n)\s{0,2}(?:no|nope)\s?[,.!:;-]|\bactually,|\bnot \$?$",
    re.IGNORECASE,
)
# A box is denied by what it is part of: it is the object of a denial before it, or the subject of one behind it.
_UNTRUE = r"(?:wrong|incorrect|false|mistaken)"
_DENIED_BEFORE = re.compile(
    rf"""(?:\b(?:not|isn't|wasn't|never|instead\sof|rather\sthan|other\sthan
    |(?:rul(?:es?|ed|ing)\sout|contradicts?|rejects?|discards?|suppose|assume)
     (?:\s(?:the|this|that|it|is|case|value|answer|possibility|option|solution|root|of|with
       |for|towards|sake|contradiction|contrary|to)\b){{0,8}}
    |if\s(?:it|this|that|[a-z]|the\s\w{{1,12}})\swere
    |(?:replace|ignore|disregard|forget)(?:\s(?:this|the|that|box|answer)){{0,2}}|previously
    |(?:for\s(?:example|instance)|e\.g\.|such\sas|as\sin|(?:answers?|something)\slike),?
    |(?:wrong|incorrect|distractor|placeholder|example(?:\sof\s(?:the\s|an\s)?(?:format|answer|output))?)\s?:
    |no\s(?:es|son)|n'est\spas|nicht|não\sé|non\sè
    |(?:not|don't|never)\s(?:write|answer|say|choose|put|box)
    |(?:can(?:not|'t)|(?:could|must|should|would)n't|won't)\s(?:be|equal)
    |(?:anything|everything|nothing|all|any|every|each)\b[^.;!?\n]{{0,30}}\s(?:except|excluding)(?:\sfor)?|anything\sbut
    |answer\s(?:is|was)\s(?:strictly\s|somewhat\s|a\slittle\s|much\s)?
      (?:less|more|greater|smaller|bigger|larger|fewer|higher|lower)\sthan
    |(?:it\s(?:is|was|would\sbe)\s(?:{_UNTRUE}|a\smistake|not\s(?:right|correct|true))
      |(?:do\snot|don't|does\snot|doesn't|did\snot|didn't)\s(?:think|believe|agree|claim)|doubt)
     (?:\s(?:that|to|the|a|final|answer|say|write|claim|conclude|give|is|was|be|it|this|value|result|count|equals?)\b){{0,7}}
    |not\s(?:true|the\scase)\sthat(?:\s(?!so\b|hence\b|thus\b|therefore\b|but\b|then\b)[\w'$\\=]{{1,20}}){{1,6}}
    |(?:{_UNTRUE}|old|outdated)\s(?:final\s)?(?:answer|result|guess|conclusion|attempt|solution)\s?(?:\s(?:is|was|would\sbe|here|of|to\sgive)|:)?)
    |\\neq?(?![A-Za-z])|≠|\\neg|(?<!\w)не|不是|并非)
    (?:\s(?:be|equal))?(?:\s(?:equal\sto|to|just|simply))?[\s:]{{0,3}}(?:[$(\[\\*\s]|[A-Za-z]\s?=){{0,6}}$""",
    re.IGNORECASE | re.VERBOSE,
)
# A box is a guess by what leads up to it in its clause: what somebody could think, or what was thought at first.
_GUESS = r"(?:guess|thought|attempt|instinct|intuition|impression|try)"
_GUESSED_BEFORE = re.compile(
    rf"""\b(?:
     (?:might|may|could|would|often|naively|wrongly|mistakenly)\s(?:(?:first|initially|easily|also|well)\s){{0,2}}
       (?:think|believe|seem|appear|be\stempted)
    |(?<!\bas\s(?:one|you)\s)(?<!\bas\swe\s)(?:might|may|could)\s(?:(?:first|initially|easily|also|well)\s){{0,2}}(?:expect|guess)
    |(?:would|often|naively|wrongly|mistakenly)\s(?:(?:first|initially|easily|also|well)\s){{0,2}}guess
    |(?:i|we|one|you)\s(?:had\s)?(?:first|initially|originally|wrongly|mistakenly|naively)\s
       (?:thought|got|found|obtained|computed|counted|guessed|answered|said|wrote)
    |(?:initially|originally|wrongly|mistakenly|na[iï]vely)\s?,?\s(?:i|we|one|you)\s
       (?:thought|get|gets|got|found|obtained|computed|counted|guessed|answered|said|wrote)
    |at\sfirst(?:\s(?:glance|sight))?\s?,?\s(?:i|we|one|you|it|this|the\s(?:answer|result|count))\s
       (?:thought|get|gets|got|found|guessed|answered|said|seems?|seemed|looks?|looked|appears?|appeared)
    |tempt(?:ing|ed)\s(?:to\s(?:say|answer|think|conclude|guess|write|give|believe)|answer|{_GUESS})
    |(?:first|initial|na[iï]ve|original|early|wild|tempting)\s(?:{_GUESS}|answer)\s(?:is|was|would\sbe|gives|gave|of)
    |(?:some(?:one|body)?|many|most|others|an?)(?:\s(?:students?|people|person|readers?|solvers?|beginners?)|(?<!\ba)(?<!\ban))
      (?:\s(?:would|might|may|could|will|often|incorrectly|wrongly)){{0,2}}
      \s(?:says?|answers?|claims?|argues?|writes?|concludes?|guess(?:es)?|thinks?|believes?)
    |answer\swould\shave\sbeen
    |without\s(?:the|this|that|any|such)\s(?:restriction|condition|constraint|requirement|assumption)s?
    |na[iï]ve\s(?:count|approach|computation|calculation|reading|method)\s(?:gives|gave|yields|is|suggests|would)
    )\b(?:(?!\b(?:but|however|yet|so|hence|therefore|thus|actually|instead|then)\b)[^.;!?\n]){{0,60}}$""",
    re.IGNORECASE | re.VERBOSE,
)
_ADVERB = r"(?:\s(?:also|actually|clearly|certainly|definitely|obviously|probably|surely|still|thus))?"
_WHO = r"(?:i|we|one|you)"
_RIGHT = r"(?:correct|right|true|valid|it\b|(?:the|an?)\s(?:\w{1,10}\s)?(?:answer|solution|value|result|count)\b)"
_REJECTED = r"(?:rejected|discarded|excluded|eliminated|disqualified|refuted|corrected|fixed|revised|ruled\sout)"
_DENIED_BEHIND = re.compile(
    rf"""[\s$)\]*\\,—-]{{0,8}}(?:\?|✗|✘|❌|{_UNTRUE}\s?!|:\s{{0,2}}(?:wrong|incorrect|mistaken)\b
    |for\s(?:example|instance)\b
    |(?:text\{{\s?)?(?:
      \((?:reject(?:ed)?|discard(?:ed)?|extraneous|invalid|{_UNTRUE}|impossible
        |not\s(?:valid|possible|allowed|a\ssolution|(?:the|our|my)\s(?:\w{{1,10}}\s)?answer))\b
      |(?:which\s|but\s|this\s|that\s|it\s){{0,2}}(?:
        fails?(?:[.;!]|\s(?:the|this|that|to|because|when|for|here|since)\b)|contradicts?\b|violates?\b
        |(?:leads?\sto|gives?|yields?|causes?|results?\sin|produces?)\sa\scontradiction\b
        |(?:over|under)-?counts?\b|double[-\s]counts?\b|counts\s(?:\w{{1,20}}\s){{0,4}}twice\b
        |differs?\sfrom\sthe\s(?:\w{{1,10}}\s)?answer\b
        |(?:seems|seemed|looks|looked)\s(?:right|correct|plausible|tempting|like\s(?:it|the\sanswer))\b
        |(?:does\snot|doesn't|cannot|can't|did\snot|didn't){_ADVERB}\s(?:satisfy|work|hold|fit|check|solve|meet|pass|qualify
          |count\b|be\s{_RIGHT})
        |(?:should\snot|shouldn't|must\snot|mustn't)\sbe\s(?:chosen|counted|used|accepted|boxed|given|the\sanswer)\b
        |would\s(?:contradict|violate\b|(?:be|have\sbeen)\s(?:{_UNTRUE}|invalid|impossible|too\s(?:big|small|large|low|high|many|few))\b
          |have\sbeen\s{_RIGHT}
          |be\s(?:only\s|just\s)?{_RIGHT}[^.;!?\n]{{0,40}}?\b(?:if|had|were|only|but|unless|without|assuming|provided|when|under)\b
          |(?:make|give|mean)\b[^.;!?\n]{{1,60}}\b(?:impossible|contradiction|contradicts)\b)
        |(?:has|have|had|needs?)\s(?:been|to\sbe){_ADVERB}\s{_REJECTED}
        |(?:isn't|wasn't|(?:is|was){_ADVERB}\snot){_ADVERB}\s(?:{_RIGHT}|possible|allowed|admissible|quite\b
          |what\s(?:the\s(?:problem|question)|{_WHO})\b)
        |(?:is|was|must\sbe|has\sto\sbe)\s(?:\w{{1,20}}\s(?:but\s)?)?(?:{_UNTRUE}|invalid|extraneous|impossible|inadmissible
          |{_REJECTED}|an?\s(?:over|under)-?(?:count|estimate))\b
        |(?:is|was){_ADVERB}\s(?:(?:\w{{1,10}}\s)?too\s(?:big|small|large|low|high|many|few)\b|off\sby\b
          |(?:less|more|greater|smaller|bigger|larger|fewer|higher|lower)\sthan\sthe\s(?:\w{{1,10}}\s)?(?:answer|value|count)\b
          |(?:an?|the|my|our)\s(?:\w{{1,10}}\s){{0,2}}?(?:{_UNTRUE}|invalid|trap\b|placeholder\b|dummy\b|example\sof\b|distractor\b|red\sherring\b|typo\b|mistake\b|error\b
            |miscalculation\b)
          |(?:only|just|merely)\s(?:an?|my|our)\s(?:\w{{1,10}}\s)?(?:bound|estimate|approximation)\b
          |(?:only\s|just\s|merely\s)?(?:my|our|the|an?)\s
           (?:first|initial|original|na[iï]ve|early|earlier|wild|rough|tempting)\s(?:{_GUESS}|answer|idea|estimate)\b
          |(?:only\s|just\s|merely\s)an?\s{_GUESS}\b
          |the\s(?:answer|solution|result|count)\s(?:to|for|of|in)\s(?:another|(?:an?|the)\s(?:different|other|easier|wrong))\b
          |what\s{_WHO}\s(?:(?:had|first|initially|originally|might)\s)?(?:thought|got|guessed|think|expect)
          |what\s{_WHO}\s(?:would\s)?(?:gets?|have|obtains?|finds?)\s(?:if|without|when\s{_WHO}\s(?:forget|ignore|miss|overlook|double)
            |by\s(?:forgetting|ignoring|missing|overlooking))
          |(?:close|near)\s?,?\s(?:but\b|to\sthe\s(?:\w{{1,10}}\s)?answer\b)|almost\s(?:right|correct)\b))))""",
    re.IGNORECASE | re.VERBOSE,
)
_MENTIONED = re.compile(
    r"\b(?:in|inside|into|within|using|with|a|an|the|your|of)\s{1,2}[`$'\"(\\]{0,4}$", re.IGNORECASE
)
"""Before an empty box: the text speaks of boxes."""

_COMMENT = re.compile(r"^[ \t]*%[^\n]*|(?<=\s)%[ \t]*(?=\\f?box)[^\n]*", re.MULTILINE)
_STRUCK = re.compile(r"(?:\\(?:[bx]?cancel|sout|[hv]?phantom)\s{0,2}\{|<(?:s|del|strike)>)[\s$]{0,2}$")
_MINUS = re.compile(r"(?:[=(:]\s?|\$)-$")
"""Right before a box, without a space: the sign of what it holds."""
_TOUCHING = re.compile(r"\^\s?(?:\{[^{}]{1,40}\}|[^\W_])|_(?:\{\w{1,3}\}|\w)|\d{1,30}(?!\w)|[A-Za-z](?![A-Za-z])")
"""Right behind a box, without a space: an exponent, an index, digits or a letter that belong to what it holds."""
# A box is an operand where a sign, a function or another factor makes it part of a larger expression.
_SIGN = r"(?:[+×·÷]|\\(?:times|cdot|div|pm|mp|ast|over)(?![A-Za-z]))"  # noqa: RUF001
_FUNCTION = r"\\(?:sqrt|[dtc]?frac|[dt]?binom|(?:arc)?(?:sin|cos|tan)|cot|sec|csc|ln|log|exp|lfloor|lceil|[lr]?[vV]ert)"
_OPERAND_BEFORE = re.compile(
    rf"""(?:
      (?:\d|(?<!\\)\)|(?<![A-Za-z\\])[A-Za-z])
     |[\w)}}\]$]\s?{_SIGN}[\s{{]{{0,3}}
     |[\d)}}]\s?[*/]\s?
     |[=(]\s?(?:\d{{1,30}}|[A-Za-z])\s?-\s?
     |[\^_]\s?\{{?\s?
     |{_FUNCTION}(?:\[\w{{1,3}}\]|[_^]\w|[_^]?\{{[^{{}}]{{1,40}}\}}){{0,2}}\s?[({{]?\s?
     |(?:[$=(]|\\left|\\[(\[])\s?\|\s?
     |(?<![A-Za-z\\])[A-Za-z](?:_\w)?\(\s?
     |\banswer\sis\s(?:the\s|an?\s|one\s)?(?:negative|opposite|square|cube|reciprocal|inverse|complement|negation|factorial
       |third|quarter|fourth|tenth|half)\sof\s[$\\(\[]{{0,3}}\s?
    |\b(?:negative|minus|twice|double|half\sof|reciprocal\sof|(?:square|cube)\sroot\sof
       |(?:one|two|\d)\s(?:more|less)\sthan)\s[$\\(\[]{{0,3}}\s?
    )$""",
    re.VERBOSE,
)
_OPERAND_BEHIND = re.compile(
    rf"""\s{{0,2}}(?:
      {_SIGN}\s?(?:\d|[A-Za-z](?![A-Za-z])|[\\({{])
     |[*/]\s?(?:\d|\\(?!text|mathrm|mbox))
     |-\s?(?:\d{{1,30}}|[A-Za-z]|\\[A-Za-z]{{1,9}})\s?(?:\$|\\[)\]])
     |{_FUNCTION}(?![A-Za-z])|\\pi(?![A-Za-z]))
     |(?:\{{,\}}|,)\d{{3}}(?!\d)|\.\d|-\d|:\d|[eE][+-]?\d|\s?(?:±|\\[lc]?dots)|\s\d{{1,9}}/\d|\\[,!]\s?\d|!\s?(?:\$|\\[)\]])
     |\((?:\d{{1,30}}|[a-z])\s?[-+*/^]
     |\s?\\bmod\b|\{{\d{{1,30}}\}}|\s?(?:→|->|\\(?:right)?arrow|\\to\b)\s?\$?-?\d
     |(?:\\[)\]]|\$)?\s(?:(?:plus|minus|times|divided\sby|choose)\s\$?(?:\d|one\b|two\b)|factorial\b
       |to\s\$?\d{{1,30}}(?!\d|\s(?:decimal|significant|digit|place))|raised\sto\b|to\sthe\s(?:\w{{1,10}}\s)?power\b|and\sa\s(?:half|third|quarter)\b
       |or\s(?:more|fewer|less|greater|higher|lower|above|below)\b
       |(?:halves|thirds|fifths|sixths|sevenths|eighths|ninths|tenths|hundredths|thousandths)\b(?!\sof\sthe\b)
       |(?:squared|cubed)(?!\s(?:cent|milli|kilo|met|inch|feet|foot|mile|yard|unit)))""",
    re.VERBOSE,
)
_BETWEEN_OPERANDS = re.compile(
    rf"[\s$]{{0,4}}(?:\\[)\]])?\s?(?:[:/*^–—-]|{_SIGN}|\\(?:colon|mid)\b|to\b)\s?(?:\\[(\[])?[\s$]{{0,4}}"  # noqa: RUF001
)
_EQUATED = re.compile(r"[^$\n=<>]{0,60}(?:[=<>]|\\(?:approx|equiv|le|ge|leq|geq)(?![A-Za-z]))")
"""Behind a box: its expression is one side of an equation, in which the box fills a gap."""

_ALTERNATIVE = re.compile(
    r"(?:\\[)\]]|\$)?\s?,?\s?(?:\\[ ,;]|\\q?quad)?\s?(?:\\text\s?\{\s?)?or(?:\s(?:maybe|possibly|perhaps|else))?\s?\}?"
    r"[\s\\($]{1,5}(?P<value>-?\d[\d.,/]{0,60}+|\\[dt]?frac\{\d{1,30}\}\{\d{1,30}\})(?!\s?\\?%|\s(?:percent|[a-z]))"
)
"""Right behind a box: another value that may be the answer as well."""

_NUMBER = r"-?(?:\d{1,3}(?:,\d{3}){1,9}|\d{1,30})(?:\.\d{1,30})?"
_RATIONAL = re.compile(
    rf"\$?(?P<whole>{_NUMBER})|(?P<sign>-?)(?:\\[dt]?frac\{{(?P<top>\d{{1,30}})\}}\{{(?P<bottom>\d{{1,30}})\}}"
    r"|(?P<over>\d{1,30})/(?P<under>\d{1,30}))"
)
_SAID = rf"[\s*$]{{0,4}}(?P<value>{_NUMBER})[\s*$]{{0,4}}[.!]?[\s*$]{{0,4}}"
_SUPERSEDED = re.compile(
    rf"\b(?:final answer|(?:correct |actual )?answer|correct value)\s{{0,2}}(?:is|:|=){_SAID}(?=\n|$)", re.IGNORECASE
)
"""Behind a box, at the end of a line: another plain number is stated as the answer."""
_CONCLUDED = re.compile(
    rf"""(?:(?:^|[.!?;]\s|\n|,?\s(?:but|and|or)\s)\s{{0,2}}
      (?:(?:so|thus|therefore|hence|but|instead|rather|actually|in\sfact|really|now)\s?,?\s){{0,2}}
      (?:(?:it|this|that|the\s(?:(?:correct|true|right|actual|real|exact|proper|final)\s)?
           (?:count|number|total|value|result|answer|one))\s
         (?:is|was|equals|becomes|must\sbe|should\sbe|turns\sout\sto\sbe|comes\s(?:out\s)?to|works\sout\s(?:to|as))
        |there\s(?:are|is))
     |\b(?:but|however)\b[^.!?\n]{{0,80}}\b(?:is|are|be|so|get|gives|becomes))
     (?:\s(?:really|actually|in\sfact|instead|only|exactly|just|rather|thus|then)){{0,2}}{_SAID}$""",
    re.IGNORECASE | re.VERBOSE,
)
"""Behind a box, at the very end: a sentence about the answer, or a contrast, ends in another plain number."""

_PHRASE = re.compile(
    r"(?:\bfinal\s+(?:answer|result)|\banswer|\banswers|\bans)(?:\s+(?:to|for|of)\s+[^.:=\n]{1,80}?)?"
    r"\*{0,3}[)\]]?\s{0,3}"
    r"(?:\\?[:=]|(?:\b(?:is|are|would be|should be|must be|comes to)\b)"
    r"(?:\s+(?:therefore|thus|then|indeed|simply|just|exactly|probably|(?:most\s+)?likely|presumably|about|approximately|roughly"
    r"|around))?)"
    r"(?:[:\s*]|\\text\{\s*\})*"
    r"|####\s*|<answer>\s*|\\text\{\s*(?:final )?answer:?\s*\}[:\s]*",
    re.IGNORECASE,
)
_HEADING = re.compile(
    r"^[ \t]*#{1,6}[ \t]*\**[ \t]*(?:final\s+)?answer\**[ \t]*:?\**[ \t]*$", re.IGNORECASE | re.MULTILINE
)
_LATER = re.compile(
    r"\b(?:should|must) (?:actually |instead |rather |really )?(?:be|have been)\s+"
    r"|\b(?:it is|it's|it equals|get|gives|is)\s+",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(
    r"[.!](?=\s|$)|</answer>|\n|(?<=[\w)}$*]),?\s(?:because|since|so that|as required|which|where)\s"
    r"|(?<=[\w)}$*]),\s(?:and\s)?not\s"
    r"|(?<=[\w)}$*]),\s(?:as\s(?!long\s)|regardless\s|whatever\s|no\smatter\s)"
)
_DISPLAY = re.compile(r"\$\$(.{1,4096}?)\$\$|\\\[(.{1,4096}?)\\\]|\$([^$\n]{1,4096})\$|\\\((.{1,4096}?)\\\)", re.DOTALL)
_AT_START = re.compile(
    r"\s{0,8}(?:\$\$(.{1,4096}?)\$\$|\\\[(.{1,4096}?)\\\]|\$([^$\n]{1,4096})\$|\\\((.{1,4096}?)\\\))", re.DOTALL
)
_STATED = re.compile(
    r"\b(?:is|are|equals|equal to|be|was|gives|get|obtain|have|has|contains|there are|there is|total of|:|=)\s+"
    r"(?P<value>(?=[-+]?[$(\[{\\]?\d)[^=]{1,80})$",
    re.IGNORECASE,
)
_BOLD = re.compile(r"\*\*([^*\n]{1,80})\*\*")
_CONCLUDING = re.compile(
    r"^(?:(?:so|thus|hence|therefore|then|finally|now),?\s){0,2}(?:we|i|it|this|which)\b[^$=\d\\]{1,30}?\b"
    r"(?:that|have|get|obtain|find|gives)\b:?,?\s(?=[A-Za-z]\s?=\s?-?[\d\\])",
    re.IGNORECASE,
)
"""Before an equation that a line ends in: "We conclude that"."""
_COUNT = re.compile(r"\bthere (?:are|is)\s+(?:exactly |only |precisely )?(?P<value>\d[\d,]*)\s+[a-z]", re.IGNORECASE)
_FAREWELL = re.compile(
    r"^\W*(?:i hope|hope (?:this|that)|let me know|feel free|thank|good luck|have a (?:nice|great)|q\.?e\.?d|is there "
    r"anything|if you have|please let|this completes|happy to)\b|^\W*$",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"^(?:\\text\s?\{)?\s{0,3}(?:the\s+)?(?:final\s+)?answer\s{0,3}(?:is|:|=)\s{0,3}:?\s{0,3}\}?\s{0,3}", re.IGNORECASE
)
_DENIAL = re.compile(r"\b(?:is|are|was) not\b|\b(?:isn't|wasn't|cannot|can't|unable|don't|not sure)\b", re.IGNORECASE)
_NOT_BUT = re.compile(r"\s{0,3}not\s[^.;!?\n]{1,60}?,?\sbut\s(?:rather\s|instead\s)?", re.IGNORECASE)
_NEGATED = re.compile(
    r"^(?:not|unknown|unclear|below|above|as follows|wrong|incorrect|hard|difficult)\b", re.IGNORECASE
)

_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n]*$", re.MULTILINE)
_OUTPUT = re.compile(
    r"(?:output|prints?|result|usage|input|run(?: it)?(?: with)?|terminal|console|shell|example)s?\W*$", re.IGNORECASE
)
_OTHER_TAGS = frozenset(
    [
        "bash",
        "sh",
        "shell",
        "zsh",
        "console",
        "terminal",
        "text",
        "txt",
        "output",
        "plaintext",
        "stdout",
        "stdin",
        "json",
        "yaml",
        "yml",
        "toml",
        "xml",
        "html",
        "css",
        "diff",
        "sql",
        "ini",
        "csv",
        "markdown",
        "md",
        "latex",
        "tex",
        "makefile",
        "dockerfile",
        "powershell",
        "cmd",
        "bat",
        "log",
        "none",
        "pycon",
    ]
)


def answer_of(claim: Claim, check: Check | None) -> Answer | None:
    """The answer that a claim states; None when it states none.

    A bare claim is its own answer: a box around all of it comes off, or fences around a program or a patch.
    """
    if not claim.bare:
        return final_answer(claim.text, check)
    if isinstance(check, ProgramCheck):
        source = _unfenced(claim.text)
        return Answer(source, Found.BARE) if source.strip() else None
    if isinstance(check, PatchCheck):
        bare = claim.text.lstrip().startswith(_DIFF_STARTS)
        return Answer(claim.text, Found.BARE) if bare else _patch_answer(claim.text, complete=True)
    text = _unboxed(claim.text)
    return Answer(text, Found.BARE, len(boxes(claim.text))) if text else None


def final_answer(text: str, check: Check | None, *, complete: bool = True) -> Answer | None:
    """The answer that a response states.

    What stands before the end of its last block (`</takeaway>`) or of its thoughts (`</think>`) does not count. The
    last box wins, unless the text denies it or takes it back; boxes that only "and", "or" or signs separate are one
    answer of several parts. A box that is empty or has no end, and is the last one, says that the answer is open: the
    text states none. Without a box, the last "final answer" phrase counts, then mathematics or a short statement at the
    end. Where a program is judged it is the last fence of the check's language. Where a patch is judged it is what all
    fences named `diff` or `patch` hold, one after the other; without any, the fences that are marked with the path of a
    file: the whole new text of that file.

    Args:
        text: The response.
        check: How it will be judged; None: a box, else a fenced program, else a statement.
        complete: Whether the response came to its own end; a cut one states only what it marks as its answer.
    """
    text = _spoken(text)
    if isinstance(check, ProgramCheck):
        return _program_answer(text, check.language, complete)
    if isinstance(check, PatchCheck):
        return _patch_answer(text, complete)
    shown = _without_comments(text)
    answer = _boxed(shown)
    if answer is None and complete and not _withdrawn(shown):
        answer = _in_words(shown)
    if answer is not None and answer.found is Found.BOXED:
        return answer
    if check is None:
        return _program_answer(text, None, complete) or answer
    if isinstance(check, CustomCheck) and complete and answer is None and text.strip():
        return Answer(text.strip(), Found.BARE)
    return answer


def branch_answer(text: str, check: Check | None) -> str | None:
    """The answer that a step states so far: its last box, or its last complete fenced program; None without one.

    Running text is no statement: steps say many things on their way.
    """
    if isinstance(check, ProgramCheck):
        answer = _program_answer(text, check.language, complete=False)
    elif isinstance(check, PatchCheck):
        answer = _patch_answer(text, complete=False)
    else:
        answer = _boxed(_without_comments(text), alone=True)
    return answer.text if answer is not None else None


def no_answer(check: Check | None) -> Verdict:
    """The verdict on a text that states no answer: FAIL where an answer is checked, else UNKNOWN and no vote."""
    match check:
        case ProgramCheck():
            what, how = "program", "The response has no fenced program."
        case PatchCheck():
            what, how = "patch", "The response has no patch. Give a unified diff in a fence named diff."
        case _:
            what, how = "final answer", "State the final answer in \\boxed{}."
    said = Evidence("no_answer", f"the text states no {what}")
    return Verdict(Status.UNKNOWN if check is None else Status.FAIL, 0.0, "no_answer", (said,), how)


def _spoken(text: str) -> str:
    """What follows the last block and the thoughts, without the thoughts."""
    if "<" not in text:  # with which all of them begin
        return text
    text = _TURN_END.split(text, maxsplit=1)[0].rpartition(_BLOCK_END)[2]
    ends = list(_THINK_END.finditer(text))
    if ends:
        text = text[ends[-1].end() :]
    opened = _THINK.search(text)
    return text[: opened.start()] if opened else text


_HIDDEN = (("<!--", "-->"), (r"\iffalse", r"\fi"), (r"\begin{comment}", r"\end{comment}"))


def _without_comments(text: str) -> str:
    """The text that a reader sees: without comments of LaTeX and of HTML."""
    for opening, closing in _HIDDEN:
        parts: list[str] = []
        at = 0
        while (start := text.find(opening, at)) >= 0 and (end := text.find(closing, start + len(opening))) >= 0:
            parts.append(text[at:start])
            at = end + len(closing)
        text = "".join((*parts, text[at:]))
    return _COMMENT.sub("", text) if "%" in text else text


# Boxes.


@dataclass(frozen=True, slots=True)
class _Box:
    """A boxed expression: where it starts, where it ends, and what is in it; `open` where its end is missing."""

    start: int
    end: int
    content: str
    open: bool = False


def boxes(text: str) -> tuple[str, ...]:
    """The contents of every boxed expression with balanced braces, in order, the outer one of nested boxes."""
    return tuple(box.content for box in _boxes(text) if not box.open)


def _boxes(text: str) -> Iterator[_Box]:
    match = _BOX.search(text)
    if match is None:
        return
    partners = _partners(text)
    while match is not None:
        start = match.end()
        at = max(start, match.start() + 1)
        if start < len(text) and text[start] != "{":
            end = _one_token(text, start, partners)
            yield _Box(match.start(), end, text[start:end])
            at = end
        elif (close := partners.get(start)) is not None:
            yield _Box(match.start(), close + 1, text[start + 1 : close])
            at = close + 1
        else:
            yield _Box(match.start(), start, "", open=True)
        match = _BOX.search(text, at)


def _partners(text: str) -> dict[int, int]:
    """Where each opening brace is closed."""
    open_at: list[int] = []
    found: dict[int, int] = {}
    for match in _BRACE.finditer(text):
        if match.group() == "{":
            open_at.append(match.start())
        elif match.group() == "}" and open_at:
            found[open_at.pop()] = match.start()
    return found


def _one_token(text: str, start: int, partners: Mapping[int, int]) -> int:
    """The end of what TeX boxes without braces: one character, or a command with the groups that follow it."""
    command = _COMMAND.match(text, start)
    if command is None:
        return start + 1
    end = command.end()
    while end in partners:
        end = partners[end] + 1
    return end


_PLAIN_END = " .$\n"
"""What stands behind the last box of most responses: it takes nothing back."""


def _boxed(text: str, *, alone: bool = False) -> Answer | None:
    """The last box that holds something and is not taken back, joined with those that belong to it.

    Args:
        text: The text.
        alone: Nothing but boxes counts; otherwise what replaces a box that was taken back does.
    """
    every = list(_boxes(text))
    count = sum(not box.open for box in every)
    full = [box for box in every if _holds_something(box)]
    if full and any(box.start > full[-1].start and not _is_mentioned(text, box) for box in every):
        return None
    denied = list(takewhile(lambda box: _denied(text, box), reversed(full[-STATEMENTS:])))
    if denied and not alone:
        behind = text[full[-1].end :]
        if (stated := _phrase(behind)) is not None:
            return stated
        if (later := _superseding(behind, full[-1].content)) is not None:
            return Answer(later, Found.PHRASE, count)
    full = full[: len(full) - len(denied)]
    if not full or len(denied) == STATEMENTS or _is_operand(text, full) or _is_one_of_cases(text, full):
        return None
    last = full[-1]
    tail = text[last.end :]
    if tail.strip(_PLAIN_END):
        if _has_alternative(text, last):
            return None
        if (taken_back := _taken_back(tail)) is not None:
            return None if alone else _replacement(tail[taken_back:], count)
        if (later := _superseding(tail, last.content)) is not None:
            return None if alone else Answer(later, Found.PHRASE, count)
    found = _joined(text, full)
    return Answer(found, Found.BOXED, count) if found else None


def _superseding(tail: str, content: str) -> str | None:
    """The plain number that the text behind a box states last as the answer, where the box holds another one."""
    boxed = _rational(content)
    if boxed is None:
        return None
    stated = [*_SUPERSEDED.finditer(tail), *_CONCLUDED.finditer(tail, max(0, len(tail) - LONGEST))]
    stated.sort(key=lambda match: match.start("value"))
    for match in reversed(stated[-STATEMENTS:]):
        if not (_is_guessed(tail, match.start("value")) or is_supposed(tail, match.start("value"), match.end("value"))):
            return None if _rational(match["value"]) == boxed else match["value"]
    return None


def _rational(text: str) -> Fraction | None:
    """The number that a text is, written as digits or as a fraction of them."""
    match = _RATIONAL.fullmatch(text.strip().strip("$").strip())
    if match is None:
        return None
    if match["whole"]:
        return Fraction(match["whole"].replace(",", ""))
    top, bottom = int(match["top"] or match["over"]), int(match["bottom"] or match["under"])
    return (-1 if match["sign"] else 1) * Fraction(top, bottom) if bottom else None


def _has_alternative(text: str, box: _Box) -> bool:
    """Whether the text offers another number beside that of a box."""
    match = _ALTERNATIVE.match(text, box.end)
    if match is None:
        return False
    boxed, other = _rational(box.content), _rational(match["value"].rstrip(".,"))
    return boxed is not None and other is not None and boxed != other


def _is_operand(text: str, full: list[_Box]) -> bool:
    """Whether the last box is part of an expression, which nothing says the value of."""
    box = full[-1]
    if len(full) > 1 and _BETWEEN_OPERANDS.fullmatch(text, full[-2].end, box.start):
        within = True
    else:
        within = _OPERAND_BEFORE.search(text, max(0, box.start - 120), box.start) is not None
    return (within or _OPERAND_BEHIND.match(text, box.end) is not None) and _EQUATED.match(text, box.end) is None


_CONDITION = re.compile(r"[\s$)\\,]{0,6}(?:\\?(?:text|mbox)\s?\{\s?)?(?:if|when|otherwise|else)\b", re.IGNORECASE)
_CASE = re.compile(r"(?:[^.;!?\n]|\.(?=\d)|;\s){1,120}")
"""What may stand between two boxes of one sentence."""


def _is_one_of_cases(text: str, full: list[_Box]) -> bool:
    """Whether the last two boxes stand in one sentence, each under a condition of its own: neither is the answer."""
    if len(full) < 2 or not all(_CONDITION.match(text, box.end) for box in full[-2:]):
        return False
    return _CASE.fullmatch(text, full[-2].end, full[-1].start) is not None


_NOTHING = re.compile(r"(?:[\s$.?_]|\\(?:ldots|dots|cdots|square|quad|phantom\{[^{}]*\})(?![A-Za-z]))*")


def _holds_something(box: _Box) -> bool:
    return not box.open and _NOTHING.fullmatch(_unboxed(box.content)) is None


def _is_mentioned(text: str, box: _Box) -> bool:
    """Whether the text only speaks of a box: "put the answer in \\boxed{}"."""
    return _MENTIONED.search(text[max(0, box.start - 24) : box.start]) is not None


def _withdrawn(text: str) -> bool:
    """Whether a text has boxes that hold something; called where none of them counts."""
    return any(map(_holds_something, _boxes(text)))


def _denied(text: str, box: _Box) -> bool:
    before = text[max(0, box.start - 60) : box.start]
    if before.rstrip(" $").endswith("~~") and text[box.end : box.end + 4].lstrip(" $").startswith("~~"):
        return True
    return (
        _DENIED_BEHIND.match(text, box.end) is not None
        or _DENIED_BEFORE.search(before) is not None
        or _STRUCK.search(before) is not None
        or _is_guessed(text, box.start)
        or is_supposed(text, box.start, box.end)
    )


def _is_guessed(text: str, start: int) -> bool:
    """Whether what leads up to a statement makes it what somebody could think, or thought at first."""
    return _GUESSED_BEFORE.search(text, max(0, start - 160), start) is not None


def _is_no_statement(text: str, start: int) -> bool:
    """Whether what leads up to a value denies it, supposes it, or makes it a guess."""
    guessed = _is_guessed(text, start) or is_supposed(text, start)
    return guessed or _DENIED_BEFORE.search(text[max(0, start - 60) : start]) is not None


def _taken_back(tail: str) -> int | None:
    """Where a text takes back the box before it; None when it does not, or confirms it in the end."""
    retracted = None
    for match in _RETRACTED.finditer(tail):
        retracted = match
    if retracted is None:
        return None
    confirmed = None
    for match in CONFIRMED.finditer(tail, retracted.end()):
        confirmed = match
    return None if confirmed is not None else retracted.start()


def _replacement(tail: str, count: int) -> Answer | None:
    """What a text puts in the place of a box that it took back; None when it puts nothing there."""
    if (stated := _phrase(tail)) is not None:
        return stated
    last = None
    for match in _LATER.finditer(tail):
        last = match
    value = _value_at(tail, last.end()) if last is not None else ""
    if not re.match(r"[-+$\\(\[{]?[\d\w\\]", value) or _NEGATED.match(value) or len(value) > 60:
        return None
    return Answer(value, Found.PHRASE, count)


def _joined(text: str, full: list[_Box]) -> str:
    """The last box, with the boxes before it that belong to one answer and with the names of their values."""
    first = len(full) - 1
    while first:
        between = text[full[first - 1].end : full[first].start]
        if len(between) > 80 or "\n\n" in between or _GLUE.fullmatch(between) is None:
            break
        first -= 1
    parts = [_content(text, box) for box in full[first:]]
    if len(set(parts)) == 1:
        return parts[0]
    names = [_NAME.search(text[max(0, box.start - 16) : box.start]) for box in full[first:]]
    if all(names):
        parts = [f"{name.group('name').strip(' =')} = {part}" for name, part in zip(names, parts, strict=True) if name]
    return ", ".join(parts)


def _content(text: str, box: _Box) -> str:
    """What a box holds, with the minus sign, exponent, letters, digits, percent or degrees that touch it."""
    content = _unboxed(box.content)
    content = _LEAD.sub("", content, count=1).strip()
    if (scaled := _SCALED.match(text, box.end)) and _rational(content) is not None:
        return f"{content} {scaled['scale'].lower()}"
    if (based := _IN_BASE.match(text, box.end)) and re.fullmatch(r"-?[0-9A-Fa-f]{1,200}", content):
        return f"{content}_{{{_base(based)}}}"
    negative = _MINUS.search(text[max(0, box.start - 4) : box.start]) is not None
    touching = None if _DEGREES.match(text, box.end) else _TOUCHING.match(text, box.end)
    if negative or touching:
        bracketed = content if re.fullmatch(r"[\w.]*", content) else f"({content})"
        return f"{'-' if negative else ''}{bracketed}{touching.group() if touching else ''}"
    if "%" not in content and _PERCENT.match(text, box.end):
        return rf"{content}\%"
    if not re.search(r"\\circ|°|degree", content) and _DEGREES.match(text, box.end):
        return rf"{content}^\circ"
    return content


def _base(match: re.Match[str]) -> int:
    """The base that is named behind a box."""
    named = (match["base"] or match["named"]).lower()
    return int(named) if named.isdigit() else BASES[named]


def _unboxed(text: str) -> str:
    """The text without boxes around all of it."""
    text = text.strip()
    if _BOX.match(text) is None:
        return text
    partners = _partners(text)
    start, end = 0, len(text)
    while (match := _BOX.match(text, start, end)) and partners.get(match.end()) == end - 1:
        start, end = match.end() + 1, end - 1
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
    return text[start:end]


# Statements in words.


def _in_words(text: str) -> Answer | None:
    """What a text states without a box: its last phrase, unless it takes it back, else what stands at its end."""
    phrase = _last_phrase(text)
    stated = _phrase_value(text, phrase) if phrase is not None else None
    if stated is not None or _BOX.search(text) or (phrase and _taken_back(text[phrase.end() :]) is not None):
        return stated
    return _last_statement(text)


def _phrase(text: str) -> Answer | None:
    """What the last phrase of a text states."""
    phrase = _last_phrase(text)
    return _phrase_value(text, phrase) if phrase is not None else None


def _last_phrase(text: str) -> re.Match[str] | None:
    """The last "the answer is" that is no guess, or the last heading "Answer"."""
    every = sorted((match for pattern in (_PHRASE, _HEADING) for match in pattern.finditer(text)), key=re.Match.end)
    return next((match for match in reversed(every[-STATEMENTS:]) if not _is_no_statement(text, match.end())), None)


def _phrase_value(text: str, phrase: re.Match[str]) -> Answer | None:
    """What stands behind a phrase, or what the text puts in its place."""
    start = phrase.end()
    if (corrected := _NOT_BUT.match(text, start)) is not None:
        start = corrected.end()
    value = _value_at(text, start)
    tail = text[phrase.end() :]
    if (taken_back := _taken_back(tail)) is not None:
        return _replacement(tail[taken_back:], 0)
    if (later := _superseding(tail, value)) is not None:
        return Answer(later, Found.PHRASE)
    if len(value.split()) > 3 and re.match(r"[A-Z][a-z]*\s", value):  # a sentence: "The largest n is 34"
        inner = _last_statement(value)
        value = inner.text if inner is not None else value
    stated = value and not _NEGATED.match(value) and not _BOX.search(value) and not is_unfinished(value)
    return Answer(value, Found.PHRASE) if stated else None


def _value_at(text: str, start: int) -> str:
    """The value that starts there: mathematics that is set off, or the rest of the sentence."""
    rest = text[start : start + LONGEST].lstrip(" \t\r\n*:")
    display = _AT_START.match(rest)
    if display is not None:
        following = rest[display.end() : display.end() + 40]
        if not re.match(r"\s?(?:,|and|or|\\?%|percent|°|\^|[a-z(/+*-])", following, re.IGNORECASE):
            return _unmarked(next(group for group in display.groups() if group is not None))
    end = _SENTENCE_END.search(rest)
    return _unmarked(rest[: end.start()] if end else rest)


def _last_statement(text: str) -> Answer | None:
    """Mathematics or a short statement at the end of a text."""
    lines = [line.strip() for line in text.strip()[-LONGEST:].splitlines()]
    while lines and _FAREWELL.match(lines[-1]):
        lines.pop()
    if not lines:
        return None
    ending = "\n".join(lines)
    if (displayed := _displayed_last(ending)) is not None:
        return None if _is_no_statement(ending, ending.rfind(displayed)) else Answer(displayed, Found.MATH)
    line = _BOLD.sub(r"\1", lines[-1])
    inline = [next(group for group in match.groups() if group is not None) for match in _DISPLAY.finditer(line)]
    if inline and len(line) > len(inline[-1]) + 4:
        return _last_inline(line, inline[-1].strip())
    stripped = _unmarked(line)
    counted = _COUNT.search(stripped)
    if counted and len(re.findall(r"\d[\d,]*", stripped)) == 1:
        return Answer(counted.group("value"), Found.LINE)
    if _DENIAL.search(stripped) or _is_guessed(stripped, len(stripped)):
        return None
    if stated := _STATED.search(stripped):
        value = stated.group("value").strip()
        if _is_no_statement(stripped, stated.start("value")) or is_unfinished(value):
            return None
        if len(value.split()) <= 6:
            return Answer(_unmarked(value), Found.LINE)
    stripped = _CONCLUDING.sub("", stripped, count=1)
    if stripped and len(stripped) <= 200 and len(stripped.split()) <= 12:
        return Answer(stripped, Found.LINE)
    return None


def _last_inline(line: str, value: str) -> Answer | None:
    """The last inline mathematics of a line with the percent sign behind it, unless a number in words follows it."""
    start = line.rfind(value)
    end = start + len(value)
    if _is_no_statement(line, start) or is_unfinished(line[end:]):
        return None
    behind = re.fullmatch(r"[$\\)]{0,3}\s(?:is|are|equals)\s(?P<value>[-+]?\d[\d,.]*?)\.?", line[end:])
    if behind:
        return Answer(behind["value"], Found.LINE)
    percent = _PERCENT.match(line[end:].lstrip("$)\\"))
    return Answer(value + (r"\%" if percent and "%" not in value else ""), Found.MATH) if value else None


def _displayed_last(text: str) -> str | None:
    """The mathematics that is displayed as the last thing in a text."""
    text = text.rstrip().rstrip(".").rstrip()
    for opening, closing in (("\\[", "\\]"), ("$$", "$$")):
        if text.endswith(closing):
            start = text.rfind(opening, 0, len(text) - 2)
            if start >= 0:
                return text[start + 2 : -2].strip().rstrip(".").strip() or None
    return None


def _unmarked(text: str) -> str:
    """Without Markdown emphasis, quotation marks around the whole, or a final full stop."""
    text = text.strip().strip("*`").strip()
    text = re.sub(r"</?(?:b|i|strong|em|answer)>", "", text).strip()
    if text.endswith(".") and not text.endswith(".."):
        text = text[:-1]
    text = text.strip().strip("*`").strip()
    whole = _AT_START.fullmatch(text)
    if whole is not None:
        text = next(group for group in whole.groups() if group is not None)
    return _unboxed(text)


# Programs.


def programs(text: str) -> Iterator[tuple[Program, str, bool]]:
    """Every fenced block with the line before it and whether it is closed; an open last fence runs to the end."""
    for fence in _fences(text):
        if fence.closed or fence.content.strip():
            yield _program(fence.content, fence.tag.lower()), fence.before, fence.closed


def _program(content: str, tag: str) -> Program:
    """What a fence holds. Some models name the language on a line of its own, below the fence."""
    first, _, rest = content.partition("\n")
    named = first.strip().lower()
    if named in _LANGUAGES and tag in ("", named):
        return Program(rest, named)
    return Program(content, tag)


def _line_before(text: str, at: int) -> str:
    return text[max(0, at - 200) : at].rstrip().rpartition("\n")[2]


def last_program(text: str, language: str | None = None, *, complete: bool = True) -> Program | None:
    """The last fenced program of a text.

    Args:
        text: The text.
        language: Of the programs that count: fences that name it, else fences that name none and hold no output. None:
            every fence that names no other kind of text.
        complete: Whether an open last fence counts.
    """
    named = LANGUAGE_TAGS.get(language or "", frozenset({language or ""}))
    others = _LANGUAGES | _OTHER_TAGS
    best: Program | None = None
    rank = 0
    for program, before, closed in programs(text):
        if not program.source.strip() or not (closed or complete):
            continue
        tag = program.language
        if language is not None and tag in named:
            merit = 3
        elif tag in (_OTHER_TAGS if language is None else others):
            continue
        else:
            merit = 1 if not tag and _OUTPUT.search(before) else 2
        if merit >= rank:
            best, rank = program, merit
    return best


def _program_answer(text: str, language: str | None, complete: bool) -> Answer | None:
    program = last_program(text, language, complete=complete)
    source = _unfenced(program.source) if program is not None else ""
    return Answer(source, Found.FENCE) if source.strip() else None


def _unfenced(text: str) -> str:
    """A program without a fence around all of it."""
    stripped = text.strip()
    blocks = list(programs(stripped)) if stripped.startswith(("```", "~~~")) else []
    if len(blocks) != 1 or not blocks[0][2] or _FENCE.fullmatch(stripped.rpartition("\n")[2]) is None:
        return text
    return blocks[0][0].source


# Patches.

_DIFF_STARTS = ("diff --git ", "--- ", "From ", "Index: ")
"""How a diff begins that stands in no fence."""

_FILE_LINE = re.compile(
    r"[#*\s]*(?:file(?:name)?\b:?\s*)?[*`\"']{0,4}(?P<path>[^\s*`\"':]+)[*`\"']{0,4}:?[*\s]*", re.IGNORECASE
)
"""A line that is nothing but the name of the file whose text follows."""

_LIKE_A_PATH = re.compile(r"\w\.\w|/")
"""Whether it is the path of a file that may be changed is for the judge to say."""


@dataclass(frozen=True, slots=True)
class _Fence:
    """A fenced block: what stands behind its first marks, the first word of it, the line before them, and what it
    holds."""

    info: str
    tag: str
    before: str
    content: str
    closed: bool


def file_fences(text: str) -> dict[str, str]:
    """The texts of the fenced blocks that are marked with the path of a file, by path; of equal paths the last one.

    The path stands behind the opening marks, after the language if there is one, or alone on the line before.
    """
    return {path: fence.content for fence in _fences(text) if (path := _path_of(fence))}


def _patch_answer(text: str, complete: bool) -> Answer | None:
    """What states a patch: a diff without its fences, or fenced files and nothing around them.

    Args:
        text: The text.
        complete: Whether an open last fence counts.
    """
    fences = [fence for fence in _fences(text) if (fence.closed or complete) and fence.content.strip()]
    diffs = [fence.content for fence in fences if fence.info.lower().partition(" ")[0] in ("diff", "patch", "udiff")]
    if diffs:
        return Answer("".join(diffs), Found.PATCH)
    files = {path: fence.content for fence in fences if (path := _path_of(fence))}
    marks = "`" * max((3, *(len(run) + 1 for run in re.findall(r"`{3,}", "".join(files.values())))))
    whole = {path: content if content.endswith("\n") else f"{content}\n" for path, content in files.items()}
    stated = "".join(f"{marks}{path}\n{content}{marks}\n" for path, content in whole.items())
    return Answer(stated, Found.PATCH) if stated else None


def _fences(text: str) -> Iterator[_Fence]:
    """Every fenced block. A line that is indented deeper than the opening closes none: it may be context of a diff, or
    stand in the docstring of a program."""
    opening: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        marks, tag = fence.groups()
        indent = fence.start(1) - fence.start()
        if opening is None:
            opening, open_indent = fence, indent
        elif marks[0] == opening[1][0] and len(marks) >= len(opening[1]) and not tag and indent <= open_indent:
            yield _fence(text, opening, fence.start(), closed=True)
            opening = None
    if opening is not None:
        yield _fence(text, opening, len(text), closed=False)


def _fence(text: str, opening: re.Match[str], end: int, *, closed: bool) -> _Fence:
    info = text[opening.end(1) : opening.end()].strip()
    return _Fence(info, opening[2], _line_before(text, opening.start()), text[opening.end() + 1 : end], closed)


def _path_of(fence: _Fence) -> str | None:
    """The path of the file that a fence holds, if it is marked with one."""
    alone = _FILE_LINE.fullmatch(fence.before)
    for path in (*reversed(re.split(r"[\s:=\"']+", fence.info)), alone["path"] if alone else ""):
        if _LIKE_A_PATH.search(path):
            return path
    return None
