"""The pages as Markdown: the same tables and sentences as in HTML, without the drawings."""

from bnlab.pages.amounts import Unit
from bnlab.pages.condition_view import Finding
from bnlab.pages.engine_sentences import in_chinese
from bnlab.pages.html_page import SYMBOLS
from bnlab.pages.markdown_text import code, data_table, table, text
from bnlab.pages.studies_page import Pack, StudiesPage
from bnlab.pages.study_results import Condition, Stress, StudyResult, Texts
from bnlab.pages.study_view import StudyView
from bnlab.pages.sweep_page import SweepPage
from bnlab.pages.words import Words, article_statements


class _Writer:
    """Writes in one language."""

    def __init__(self, words: Words) -> None:
        self.t = words

    def spoken(self, texts: Texts) -> str:
        return text(texts.in_lang(self.t.lang)[0])

    def engine(self, sentence: str) -> str:
        chinese = in_chinese(sentence) if self.t.lang == "zh" else None
        return text(sentence if chinese is None else chinese)

    def badge(self, verdict: str) -> str:
        return f"{SYMBOLS[verdict]} {self.t(verdict)}"

    def effect(self, of: Condition | StudyResult, unit: Unit) -> str:
        interval = unit.interval(of.low, of.high, self.t.lang)
        decides = of if isinstance(of, Condition) else of.decisive_condition
        return text(f"{unit.amount(of.effect, self.t.lang)} {interval}") + (self.made(decides) if interval else "")

    def made(self, of: Condition | None) -> str:
        """Return how an interval was made and at which level, in brackets; empty where nobody knows."""
        if of is None or of.level is None:
            return ""
        method = [self.engine(of.method)] if of.method else []
        return f" ({self.t('comma').join([*method, f'{100 * of.level:.3g}%'])})"

    def holds_in(self, stress: Stress) -> str:
        return self.t("of", agree=stress.agree, of=stress.of) if stress.of else "–"

    def bullets(self, sentences: tuple[str, ...]) -> list[str]:
        return [*(f"- {self.engine(sentence)}" for sentence in sentences), ""] if sentences else []

    def section(self, key: str, texts: Texts) -> list[str]:
        return [f"#### {self.t(key)}", "", self.spoken(texts), ""] if texts.in_lang(self.t.lang)[0] else []


def studies_markdown(page: StudiesPage) -> str:
    """Return the page of studies as Markdown."""
    write = _Writer(page.words)
    t = page.words
    counts = " · ".join(t(f"count_{word}", number=page.counts[word]) for word in SYMBOLS)
    lines = [f"# {text(page.title)}", "", page.lead, "", f"**{counts}**", "", f"## {t('verdicts')}", ""]
    for pack in page.packs:
        lines += [f"### {text(pack.title)}", ""] if pack.title else []
        lines += [*_claims(pack, write), text(pack.family_text), ""]
    lines += [*(f"- {write.badge(word)}{t('colon')}{t('read_' + word)}" for word in SYMBOLS)]
    lines += [*(f"- {t('read_' + word)}" for word in ("effect", "holds", "family", "minutes")), ""]
    lines += [f"## {t('statements')}", "", *_statements(page, write)] if page.is_about_article else []
    lines += [f"## {t('studies')}", ""]
    for study in page.studies:
        lines += _study(study, write)
    lines += [
        f"## {t('about')}",
        "",
        f"{t('about_text')}{t('gap')}{t('about_files')}",
        "",
        t("in_html"),
        "",
        t("other_lang"),
        "",
    ]
    return "\n".join(lines)


def _claims(pack: Pack, write: _Writer) -> list[str]:
    t = write.t
    rows = []
    for study in pack.studies:
        result = study.result
        changed = f" **{t('changed')}**" if result.changed else ""
        name = f"**{write.spoken(study.claim)}** ({text(study.name)}){changed}"
        n = "–" if result.n is None else str(result.n)
        family = t(study.family) if study.family else "–"
        effect = write.effect(result, study.unit)
        statements = text(", ".join(result.statements)) or "–"
        tail = [effect, n, write.holds_in(result.stress), family, study.minutes]
        rows.append([write.badge(result.verdict), name, statements, *tail])
        for finding in study.rows_below:
            condition = finding.condition
            n = "–" if condition.n is None else str(condition.n)
            tail = [write.effect(condition, finding.unit), n, write.holds_in(condition.stress), "–", "–"]
            statement = text(study.statement_of(finding)) or "–"
            says = write.spoken(finding.says) + (f" ({t('check')})" if finding in study.checks else "")
            rows.append([write.badge(condition.verdict), says, statement, *tail])
    known = article_statements()
    rows += [[t("none_yet"), write.spoken(known[name][1]), name, *(["–"] * 5)] for name in pack.open]
    headings = ("verdict", "claim", "statement", "effect", "n", "holds_in", "family", "minutes")
    return table([t(key) for key in headings], rows, (4, 5, 7))


def _statements(page: StudiesPage, write: _Writer) -> list[str]:
    t = page.words
    rows = []
    for name, answers in page.answered.items():
        known = article_statements().get(name)
        said = [f"{write.badge(verdict)} ({text(study.name)})" for study, verdict in answers]
        spoken = "" if known is None else write.spoken(known[1])
        rows.append([text(name), spoken, ", ".join(said) or t("none_yet")])
    return table([t("statement"), t("the_article_says"), t("verdict")], rows)


def _study(study: StudyView, write: _Writer) -> list[str]:
    result, t = study.result, write.t
    facts = [write.badge(result.verdict), write.effect(result, study.unit)]
    facts += [f"n = {result.n}"] if result.n is not None else []
    facts += [f"{t('holds_in')}{t('colon')}{write.holds_in(result.stress)}"] if result.stress.of else []
    lines = [f"### {write.spoken(study.claim)}", "", f"**{' · '.join(facts)}**", ""]
    lines += [write.spoken(study.reason), ""] if study.reason.en else []
    lines += [text(" · ".join(study.facts)), ""]
    lines += [line for name, texts in study.articles for line in (f"> {name} {write.spoken(texts)}", ">")]
    lines += ["", f"#### {t('why')}", ""]
    for key, sentences in (
        ("rule", (result.told_rule,)),
        ("reason", tuple(study.reasons)),
        ("to_change", (result.to_change,)),
        ("changed", (result.changed,)),
    ):
        lines += [f"- {t(key)}{t('colon')}{write.engine(sentence)}" for sentence in sentences if sentence]
    lines += ["", *write.section("protocol", result.protocol)]
    for key, findings in (("conditions", study.findings), ("checks", study.checks), ("also", study.also)):
        lines += _findings(findings, key, write)
    lines += [f"#### {t('stress')}", ""]
    if result.stress.of:
        lines += [t("stress_lead", of=result.stress.of, agree=result.stress.agree), ""]
        lines += write.bullets(result.stress.flips) or [t("stress_all"), ""]
    else:
        lines += [t("stress_none"), ""]
    lines += write.section("fools", result.fools) + write.section("literature", result.literature)
    lines += [f"{t('source')}{t('colon')}{text(result.source)}", ""] if result.source else []
    lines += [f"#### {t('repeat')}", "", *(code(t.command(result.command)) if result.command else [])]
    for name, command in study.commands:
        lines += [f"{text(name)}{t('colon')}", "", *code(command)]
    if study.history.rows:
        lines += [f"#### {t('earlier')}", "", *data_table(study.history)]
    return lines


def _findings(findings: tuple[Finding, ...], key: str, write: _Writer) -> list[str]:
    if not findings:
        return []
    t = write.t
    rows = []
    for finding in findings:
        condition = finding.condition
        says = write.spoken(finding.says) + (f" ({text(finding.detail)})" if finding.detail else "")
        n = "–" if condition.n is None else str(condition.n)
        effect = write.effect(condition, finding.unit)
        row = [finding.number, says, write.badge(condition.verdict), effect, write.engine(finding.bound), n]
        rows.append([*row, write.holds_in(condition.stress)])
    headings = ("number", "condition", "verdict", "effect", "bound", "n", "holds_in")
    lines = [f"#### {t(key)}", "", *table([t(each) for each in headings], rows, (5, 6))]
    for finding in findings:
        lines += write.bullets(finding.condition.sentences)
        if finding.table.rows:
            lines += [t("seeds_caption", number=finding.number), "", *data_table(finding.table)]
    return lines


def sweep_markdown(page: SweepPage) -> str:
    """Return the page of a sweep as Markdown."""
    write, t = _Writer(page.words), page.words
    lines = [f"# {text(page.title)}", "", page.lead, "", f"## {t('verdict')}", ""]
    if page.no_verdict:
        lines += [t("no_verdict", why=write.engine(page.no_verdict)), ""]
    if page.verdict is not None:
        condition = page.verdict.condition
        lines += [write.engine(page.verdict.says.en), ""]  # the claim of `bnlab judge`, in the words of the engine
        facts = [write.badge(condition.verdict), write.effect(condition, page.verdict.unit), f"n = {condition.n}"]
        facts += [f"{t('holds_in')}{t('colon')}{write.holds_in(condition.stress)}"] if condition.stress.of else []
        lines += [f"**{' · '.join(facts)}**", "", *([write.engine(condition.reason), ""] if condition.reason else [])]
        lines += write.bullets(condition.sentences)
        lines += [f"{t('flips')}{t('colon')}", ""] if condition.stress.flips else []
        lines += write.bullets(condition.stress.flips)
        lines += data_table(page.verdict.table)
    lines += [text(page.choice), "", *code(page.other_command)] if page.choice else []
    lines += [
        f"## {t('sweep_best')}",
        "",
        *data_table(page.best),
        t("sweep_interval"),
        "",
        *write.bullets(page.sentences),
    ]
    if page.instruments is not None:
        lines += [f"## {t('measured_last')}", "", *data_table(page.instruments), t("measured_note"), ""]
    lines += [f"## {t('sweep_cells')}", "", t("sweep_cells_caption"), "", *data_table(page.cells)]
    for picture in page.pictures:
        lines += [f"## {text(picture.title)}", "", picture.note, "", *data_table(picture.table)]
    lines += [f"## {t('repeat')}", ""]
    for command in page.commands:
        lines += code(command)
    lines += data_table(page.facts) if page.facts.rows else []
    return "\n".join([*lines, t("in_html"), "", t("other_lang"), ""])
