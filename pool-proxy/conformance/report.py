"""The tables of docs/proxy-conformance.md."""

BEGIN = "<!-- tables: written by pool-proxy/conformance/run.py --all --write -->"
END = "<!-- end of tables -->"


def renew(document, runs, expectations):
    before, _, rest = document.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    if not after:
        raise SystemExit(f"{document} has no place for tables")
    document.write_text(f"{before}{BEGIN}\n\n{summary(runs)}\n{missed(runs, expectations)}\n{END}{after}")


def summary(runs):
    """One line per proxy and mode, one column per era of clients and server."""
    columns = [("2025-11-25", "legacy"), ("2026-07-28", "legacy"), ("2026-07-28", "modern")]
    lines = [
        "| proxy | mode | 2025-11-25, legacy server | 2026-07-28, legacy server | 2026-07-28, modern server |",
        "|---|---|---|---|---|",
    ]
    for subject in dict.fromkeys(run.subject for run in runs):
        cells = [score(runs, subject, *column) for column in columns]
        lines.append(f"| {subject.name} | {subject.mode} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def score(runs, subject, revision, server):
    for run in runs:
        if (run.subject, run.revision, run.server) == (subject, revision, server):
            if run.does_not_start:
                return "does not start"
            return f"{sum(result.passed for result in run.scored)} of {len(run.scored)}"
    return "–"


def missed(runs, expectations):
    """Which scored scenarios each run missed. The reasons are known of our own runs only."""
    parts = []
    for run in runs:
        misses = [result.name for result in run.scored if not result.passed]
        if not misses or run.does_not_start:
            continue
        parts.append(f"**{run.title}**, missed:\n")
        if run.subject.name == "pool-proxy":
            known = expectations.misses(run.revision, run.server, run.subject.mode)
            reasons = {}
            for name in misses:
                reasons.setdefault(known.get(name, "Not expected."), []).append(name)
            parts += [f"* {in_code(names)}: {reason}" for reason, names in reasons.items()]
        elif len(misses) <= NAMED_MAX:
            parts.append(f"* {in_code(misses)}")
        else:
            parts.append(f"* {len(misses)} scenarios")
        parts.append("")
    return "\n".join(parts)


def in_code(names):
    return ", ".join(f"`{name}`" for name in names)


# A longer list says no more than its length.
NAMED_MAX = 12
