"""What a column may hold by the words in its name, in some languages: `winner_response`, `Frage`, `良い回答`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import permutations

_ASIAN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_ASIAN}]+|\d+|[^\W\d_{_ASIAN}]+")
LONG = 5
"""Letters from which on a word is known as the beginning or the end of a longer one, as in German compounds."""


def _known(*languages: str) -> frozenset[str]:
    return frozenset(folded(word) for words in languages for word in words.split())


def folded(text: str) -> str:
    """Letters without case and accents."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFC", "".join(c for c in apart if not "\u0300" <= c <= "\u036f"))


WORDS: Mapping[str, frozenset[str]] = {
    "ask": _known(
        "prompt question query instruction problem request task ask asked inquiry input",
        "frage aufgabe anfrage eingabe anweisung demande consigne pregunta consulta solicitud domanda richiesta",
        "pergunta vraag pytanie soru вопрос запрос 質問 質問文 指示 入力 問い 问题 提问 指令 输入 問題 질문 지시",
    ),
    "asker": _known("user human customer client kunde nutzer usuario utilisateur utente"),
    "answer": _known(
        "answer response reply output completion generation assistant bot",
        "antwort ausgabe reponse respuesta risposta resposta antwoord odpowiedz cevap yanit ответ",
        "回答 答え 返答 応答 出力 回复 答案 回應 输出 답변 응답",
    ),
    "better": _known(
        "chosen preferred better winner winning win won accepted good best positive pos selected favored favoured",
        "gut gute guter gutes besser bessere besseres beste bevorzugt bevorzugte gewahlt gewahlte sieger",
        "bon bonne meilleur meilleure prefere preferee choisi choisie bueno buena mejor preferida elegida ganador",
        "buono buona migliore scelta bom boa melhor escolhida goed beter хороший лучший выбранный",
        "良い 良 よい 好ましい 採用 好 更好 优 좋은 선택", "safer helpful",
    ),
    "worse": _known(
        "rejected dispreferred unpreferred nonpreferred worse loser losing lose lost declined bad worst negative neg",
        "discarded schlecht schlechte schlechter schlechtes abgelehnt abgelehnte verlierer mauvais mauvaise pire",
        "rejete rejetee malo mala peor rechazada perdedor cattivo cattiva peggiore scartata ruim pior rejeitada",
        "slecht slechter плохой худший отклоненный 悪い 悪 却下 不採用 差 更差 坏 나쁜 거부",
    ),
    "judged": _known(
        "feedback rating rated rate thumb thumbs vote voted label score scores star stars like liked upvote reaction",
        "verdict grade graded quality judgement judgment preference pick picked choice approved approval correct",
        "reward rewards satisfied satisfaction sentiment opinion ok okay helpful",
        "bewertung urteil zufrieden zufriedenheit daumen praferenz stimme evaluation avis valoracion calificacion voto",
        "valutazione giudizio avaliacao beoordeling ocena оценка отзыв 評価 評点 評判 判定 评价 评分 评级 喜好",
        "満足 평가 평점",
    ),
    "beside": _known(
        "id ids uuid guid key hash index idx source origin date time timestamp created updated year day month url uri",
        "link path file filename category categories topic domain tag tags type kind lang language locale",
        "country split subset fold length len count counts num number tokens words chars characters version seed",
        "author annotator labeler labeller rater worker name username email session license licence difficulty level",
        "priority status state metadata meta quelle datum sprache kategorie fecha idioma langue",
        "日付 言語 出典 来源 日期 语言 类别 カテゴリ 番号",
    ),
    "remark": _known(
        "reason rationale explanation explained comment critique note notes subject title headline",
        "kommentar grund thema",
    ),
}  # fmt: skip
"""Kind of column -> words that say it, folded."""
EITHER = _known("answer antwort reponse respuesta risposta resposta antwoord odpowiedz cevap ответ 回答 答え 答案 답변")
"""Names of written answers and of right ones alike: what stands in them tells."""
SIDES = (
    ("a", "b"), ("0", "1"), ("1", "2"), ("first", "second"), ("left", "right"), ("one", "two"), ("x", "y"),
    ("erste", "zweite"), ("links", "rechts"), ("premiere", "deuxieme"), ("primera", "segunda"), ("i", "ii"),
)  # fmt: skip
"""What tells two columns of answers apart."""
THIRD = {"a": "c", "0": "2", "1": "3", "first": "third", "one": "three", "i": "iii"}


def words_of(column: str) -> list[str]:
    """The words of a name, folded; numbers and scripts apart."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", column)
    return _WORD.findall(folded(apart))


def kinds_of(column: str) -> set[str]:
    """Of `WORDS`, those that a name says."""
    words = words_of(column)
    return {kind for kind, known in WORDS.items() if any(_says(word, known) for word in words)}


def _says(word: str, known: frozenset[str]) -> bool:
    if word in known or word.removesuffix("s") in known:
        return True
    if re.match(f"[{_ASIAN}]", word):
        return any(one in word for one in known if re.match(f"[{_ASIAN}]", one))
    return any(
        len(one) >= LONG and (word.startswith(one) or word.endswith(one)) for one in known if len(word) > len(one)
    )


def roles_of(column: str) -> set[str]:
    """What a column may be called here, as keys of `names.NAMES`, by the words of its name."""
    kinds = kinds_of(column)
    if "remark" in kinds or (is_flag_name(column) and not kinds & {"better", "judged"}):
        return set()
    if "beside" in kinds:  # `better_response_id`
        return {"preference"} if kinds & {"better", "judged"} and "worse" not in kinds else set()
    if kinds >= {"better", "worse"}:
        return set()
    if "judged" in kinds:
        more = kinds & {"better", "worse", "ask"}
        return set() if more - {"better"} else {"label", "scores", "preference"}
    if "worse" in kinds:
        return {"rejected"}
    if "better" in kinds:
        return {"chosen", "preference"}
    if "answer" in kinds:
        return {"answer"} if len(words_of(column)) == 1 and words_of(column)[0] in EITHER else {"completion"}
    return {"prompt"} if kinds & {"ask", "asker"} else set()


def is_beside(column: str) -> bool:
    """Whether a name says that a column is no feedback: where a row comes from, when, in which language."""
    flag = is_flag_name(column) and not kinds_of(column) & {"better", "judged"}
    return "beside" in kinds_of(column) or flag or words_of(column) == ["model"]


def is_flag_name(column: str) -> bool:
    """`is_english`, `has_code`."""
    return words_of(column)[:1] in (["is"], ["has"], ["num"], ["n"])


def sided(columns: Sequence[str]) -> list[tuple[str, str]]:
    """Two columns whose names differ in one word alone, that says which is which; not where there is a third."""
    by_words = {tuple(words_of(column)): column for column in columns}
    result: list[tuple[str, str]] = []
    for (some, first), (others, second) in permutations(by_words.items(), 2):
        apart = [i for i, (x, y) in enumerate(zip(some, others, strict=False)) if x != y]
        if len(some) != len(others) or len(apart) != 1 or (some[apart[0]], others[apart[0]]) not in SIDES:
            continue
        at = apart[0]
        third = (*some[:at], THIRD.get(some[at], ""), *some[at + 1 :])
        before = (*some[:at], "0", *some[at + 1 :]) if (some[at], others[at]) == ("1", "2") else ()
        if third not in by_words and before not in by_words:
            result.append((first, second))
    return result


def side_words(first: str, second: str) -> tuple[str, str]:
    """The words that tell two such columns apart."""
    return next((x, y) for x, y in zip(words_of(first), words_of(second), strict=True) if x != y)
