"""How a peer goes through the rows, timed one by one. Beside the scripts, as each of them runs in an environment of its own."""

import time


def answered(rows, estimate):
    """One answer a row: what `estimate(row)` returned, or `error`, with its seconds."""
    answers = []
    for row in rows:
        begun = time.perf_counter()
        try:
            answer = estimate(row)
        except Exception as error:  # a peer's refusal, whatever its type, is an unanswered row
            answer = {"error": f"{type(error).__name__}: {error}"[:200]}
        answers.append({"id": row["id"], "seconds": time.perf_counter() - begun} | answer)
    return answers
