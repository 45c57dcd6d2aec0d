"""Times a peer on each row. It lies beside the scripts, because each of them runs in its own environment."""

import time


def answered(rows, estimate):
    """Returns an answer per row: what `estimate(row)` returned, or `error`, with its seconds."""
    answers = []
    for row in rows:
        begun = time.perf_counter()
        try:
            answer = estimate(row)
        except Exception as error:  # a peer's refusal, whatever its type, is an unanswered row
            answer = {"error": f"{type(error).__name__}: {error}"[:200]}
        answers.append({"id": row["id"], "seconds": time.perf_counter() - begun} | answer)
    return answers
