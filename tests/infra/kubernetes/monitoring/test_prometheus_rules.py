"""Rules of Prometheus: each alert fires on its fault, on nothing else, and not for ever, by the real rule engine; no name is made up."""

import dataclasses
import functools
import re
import subprocess

import pytest
import yaml

from engines.metrics import RECORDED, table
from infra.kubernetes.monitoring.alerts import APPLICATION_XIDS, WATCHDOG
from infra.kubernetes.monitoring.prometheus_rules import rules_yaml
from planner import plan as make_plan
from planner.engine_facts.vllm import RELEASE, RELEASE_ON_VOLTA
from rehearsal.programs import find_program
from settings.quantities import Duration
from tests.engines.envoy.proxy import arguments, pipelines, running
from tests.engines.expositions import exposition, series
from tests.engines.test_metrics import differences
from tests.infra.kubernetes.conftest import _deployed_stack, changed, ray_groups, render


@functools.cache
def of(kind):
    """A stack of an engine, by the table of its servers: its plan and its workload."""
    if kind == "zig_ai":
        deployed = _deployed_stack("prod")
    elif kind == "llama_cpp":
        deployed = _deployed_stack("dev")
    elif kind == f"vllm-{RELEASE_ON_VOLTA}":
        deployed = ray_groups()
    else:
        prod = _deployed_stack("prod").settings.model_copy(update={"engine": "vllm"})
        plan = make_plan(changed(prod, "gpu_pool", vm_size="Standard_NC48ads_A100_v4"))
        return plan, render(plan.settings, plan)
    return deployed.plan, deployed.workload


KINDS = ["zig_ai", "llama_cpp", f"vllm-{RELEASE}", f"vllm-{RELEASE_ON_VOLTA}"]
"""Each engine, and each of its releases."""


def rules_of(kind, **targets):
    plan, _ = of(kind)
    settings = changed(plan.settings, "targets", **targets)
    plan = dataclasses.replace(plan, settings=settings)
    return rules_yaml(plan, render(settings, plan))


def alerts_of(text):
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"] if "alert" in rule]


@pytest.fixture
def promtool(tmp_path):
    """Runs tests of rules in one go; each is its input series, and what queries answer when."""
    program = find_program("promtool", target="test")

    def run(rules, tests):
        (tmp_path / "rules.yml").write_text(rules)
        document = {"rule_files": ["rules.yml"], "evaluation_interval": "2m", "tests": tests}
        (tmp_path / "test.yml").write_text(yaml.safe_dump(document))
        result = subprocess.run([program, "test", "rules", str(tmp_path / "test.yml")], capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stdout + result.stderr

    return run


def labelled(name, **labels):
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


FAULT, LATER = 44, 100
"""Minutes, both of an evaluation: a fault lasts for the first, and all is well until the second."""


def gauge(now, then):
    return f"{now}x{FAULT} {then}x{LATER - FAULT}"


def counter(now, then):
    """A counter, by what it grows each minute."""
    return f"0+{now}x{FAULT} {now * FAULT}+{then}x{LATER - FAULT}"


def took(workload, seconds, of_sixty=60):
    """Sixty requests a minute, of which so many took so long, in the buckets of the workload's histogram; all within the target later."""
    latency, series = workload.latency, {}
    where = latency.where.strip("{}") + "," * bool(latency.where)
    # Envoy's bound at the target of two seconds is the last millisecond before it.
    for bound in (0.5, 1.5, 1.999 if latency.unit != 1 else 2, 2.5, 30, "+Inf"):
        le = bound if bound == "+Inf" else f"{bound / latency.unit:g}"
        within = 60 if bound == "+Inf" or bound >= seconds else 60 - of_sixty
        later = 60 if bound == "+Inf" or bound >= 1 else 0
        series[f'{latency.name}_bucket{{{where}le="{le}"}}'] = counter(within, later)
    series[f"{latency.name}_count{latency.where}"] = counter(60, 60)
    return series


FRONT, BEHIND = {"envoy_http_conn_manager_prefix": "coordinator"}, {"envoy_cluster_name": "pipelines"}


def envoy(**fault):
    """What the front door says, in peace but for `fault`: by the table's key, what a gauge is or how a counter grows each minute."""
    peace = {"active": 1, "left": 0, "pending": 0, "sent": 60, "retried": 0, "healthy": 9, "ejected": 0, "certificate_days": 60}
    found = {}
    for key, value in peace.items():
        metric = table("envoy")[key]
        labels = {label: (FRONT | BEHIND)[label] for label in metric.labels}
        found[labelled(metric.name, **labels)] = (gauge if metric.type == "gauge" else counter)(fault.get(key, value), value)
    for number, each_minute in {"2": 60 - fault.get("failed", 0), "4": 0, "5": fault.get("failed", 0)}.items():
        series = labelled(table("envoy")["by_class"].name, **FRONT, envoy_response_code_class=number)
        found[series] = counter(each_minute, {"2": 60}.get(number, 0))
    return found


def server(kind, **fault):
    """What a pipeline's server says; nothing where its engine has no table of its own beside Envoy's."""
    found = {}
    for key, value in {"waiting": 0, "prompt_tokens": 600, "answer_tokens": 6000, "cache": 0.5, "preemptions": 0}.items():
        if metric := table(kind).get(key):
            found[metric.name] = (gauge if metric.type == "gauge" else counter)(fault.get(key, value), value)
    return found


GPU = {"node": "n", "gpu": "0"}


def gpu(busy=85, used=74_000, of=80_000, *, remap_failed=False):
    return {
        labelled("DCGM_FI_DEV_GPU_UTIL", **GPU): gauge(busy, 85),
        labelled("DCGM_FI_DEV_FB_USED", **GPU): gauge(used, 74_000),
        labelled("DCGM_FI_DEV_FB_FREE", **GPU): gauge(of - used, of - 74_000),
        labelled("DCGM_EXP_XID_ERRORS_COUNT", **GPU): gauge(0, 0),
        labelled("DCGM_FI_DEV_ROW_REMAP_FAILURE", **GPU): gauge(int(remap_failed), 0),
        labelled("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", **GPU): gauge(0, 0),
        labelled("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", **GPU): counter(18_000_000, 18_000_000),
    }


def xid(number):
    """An error as the exporter counts it: for five minutes."""
    return {labelled("DCGM_EXP_XID_ERRORS_COUNT", **GPU, xid=number): f"_x20 1x5 _x{LATER}"}


def own(rule_failures=0):
    """What Prometheus says of itself."""
    return {table("prometheus")["rule_failures"].name: counter(rule_failures, 0)}


def coordinators_gone(scrapes):
    """None of them answers."""
    of_them = [one for one in scrapes if one.labels.get("app") == "zig-ai-coordinator"]
    return {name: gauge(0, 1) for one in of_them for name in one.up(one.least)}


FAULTS = {
    # One in ten is late, which no budget notices within hours.
    "ZigAiLatencyAboveTarget": lambda kind, _: took(of(kind)[1], 5, 6),
    "ZigAiLatencyBudgetBurning": lambda kind, _: took(of(kind)[1], 5),
    "ZigAiErrorBudgetBurning": lambda *_: envoy(failed=6),
    # An engine that takes 90 % at start has 92.7 % of an H100 with its context: that is peace.
    "ZigAiGpuMemoryBeyondPlan": lambda *_: gpu(used=77_500),
    "ZigAiGpuError": lambda *_: xid(79),
    "ZigAiGpuProgramError": lambda *_: xid(31),
    "ZigAiGpuMemoryFails": lambda *_: gpu(remap_failed=True),
    "ZigAiGpuIdle": lambda *_: gpu(busy=5),
    "ZigAiServiceDown": lambda kind, scrapes: envoy(healthy=0) if kind != "zig_ai" else coordinators_gone(scrapes),
    "ZigAiPipelinesMissing": lambda *_: envoy(healthy=0.5),
    "ZigAiPipelineEjected": lambda *_: envoy(ejected=1),
    "ZigAiRequestsWait": lambda *_: envoy(pending=3),
    "ZigAiCacheFull": lambda kind, _: server(kind, preemptions=2),
    "ZigAiClientsLeave": lambda *_: envoy(left=6),
    "ZigAiRetries": lambda *_: envoy(retried=2),
    "ZigAiCertificateEnds": lambda *_: envoy(certificate_days=13),
    "ZigAiRulesFail": lambda *_: own(rule_failures=1),
}
WITH_IT = {
    "ZigAiLatencyBudgetBurning": {"ZigAiLatencyAboveTarget"},
    "ZigAiServiceDown": {"ZigAiPipelinesMissing"},
}
"""What fires beside an alert, where its fault is another's too."""


@dataclasses.dataclass(frozen=True)
class Watched:
    """What one of the rules for missing scrapes asks for, as its expression has it."""

    labels: dict[str, str]
    least: int

    def up(self, many, silent=0):
        """So many that answer, and one more that does not if it is `silent`; all of the least there are later."""
        there = {labelled("up", **self.labels, instance=f"i{index}"): gauge(1, 1) for index in range(many)}
        return there | {labelled("up", **self.labels, instance=f"s{index}"): f"0x{FAULT} _x{LATER}" for index in range(silent)}

    def missing(self):
        there = {labelled("up", **self.labels, instance=f"i{index}"): gauge(1, 1) for index in range(self.least - 1)}
        return there | {labelled("up", **self.labels, instance="late"): f"_x{FAULT + 1} 1x{LATER}"}


def watched(rules):
    found = []
    for alert in alerts_of(rules):
        if alert["alert"] == "ZigAiScrapeMissing":
            [(labels, least)] = re.findall(r"^up\{(.*?)\} == 0 or .* < (\d+)$", alert["expr"])
            found.append(Watched(dict(re.findall(r'(\w+)="(.*?)"', labels)), int(least)))
    return found


def firing(series, *alerts):
    """Nothing but these alerts, each with its labels, at the end of the fault, and none later."""
    query = f'group by (alertname, job, app) (ALERTS{{alertstate="firing",alertname!="{WATCHDOG}"}})'
    fires = [{"labels": labelled("", **alert), "value": 1} for alert in alerts]
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": query, "eval_time": f"{FAULT}m", "exp_samples": fires},
            {"expr": query, "eval_time": f"{LATER}m", "exp_samples": []},
        ],
    }


def peace_of(kind, rules):
    all_up = {name: values for one in watched(rules) for name, values in one.up(one.least).items()}
    front = {} if kind == "zig_ai" else envoy() | server(kind)
    return took(of(kind)[1], 1) | gpu() | own() | all_up | front


def expected(kind, alert, scrapes):
    """The labels of all that fires at an alert's fault."""
    found = [{"alertname": name} for name in (alert, *WITH_IT.get(alert, ()))]
    if alert == "ZigAiServiceDown" and kind == "zig_ai":
        of_coordinators = [one.labels for one in scrapes if one.labels.get("app") == "zig-ai-coordinator"]
        return [{"alertname": alert}, *({"alertname": "ZigAiScrapeMissing"} | labels for labels in of_coordinators)]
    return found


@pytest.mark.process
@pytest.mark.parametrize("kind", KINDS[:3])
def test_each_alert_fires_on_its_fault_and_on_nothing_else_and_goes_with_it(promtool, kind):
    """The cases are the rules': an alert without a fault of its own here is red."""
    rules = rules_of(kind, latency=Duration("2s"))
    there = {alert["alert"] for alert in alerts_of(rules)} - {WATCHDOG}
    assert there <= {*FAULTS, "ZigAiScrapeMissing", "ZigAiHistoryCut"}, "each alert needs a fault in FAULTS"
    peace, scrapes = peace_of(kind, rules), watched(rules)
    cases = {alert: fault(kind, scrapes) for alert, fault in FAULTS.items() if alert in there}
    tests = [firing(peace), *(firing(peace | fault, *expected(kind, alert, scrapes)) for alert, fault in cases.items())]
    gone = peace | {name: f"_x{LATER}" for one in scrapes for name in one.up(one.least)}
    gone |= {name: values for one in scrapes for name, values in one.missing().items()}
    silent = peace | {name: values for one in scrapes for name, values in one.up(0, silent=1).items()}
    missing = [{"alertname": "ZigAiScrapeMissing"} | one.labels for one in scrapes]
    alone = any(one.labels.get("app") == "zig-ai-coordinator" and one.least == 1 for one in scrapes)
    down = [{"alertname": "ZigAiServiceDown"}] * alone
    promtool(rules, [*tests, firing(gone, *missing, *down), firing(silent, *missing)])


def test_every_alert_is_one_of_some_engine():
    """A case whose alert nobody has would be tried nowhere."""
    everywhere = {alert["alert"] for kind in KINDS for alert in alerts_of(rules_of(kind))}
    assert everywhere == {*FAULTS, WATCHDOG, "ZigAiScrapeMissing", "ZigAiHistoryCut"}
    assert {alert["labels"]["severity"] for kind in KINDS for alert in alerts_of(rules_of(kind))} == {"page", "ticket", "heartbeat"}


@pytest.mark.process
def test_the_watchdog_never_rests_and_a_cut_history_is_told_of_for_hours(promtool):
    query = "group by (alertname) (ALERTS{alertstate='firing',alertname=~'ZigAiWatchdog|ZigAiHistoryCut'})"
    watchdog, cut = ({"labels": f'{{alertname="{name}"}}', "value": 1} for name in (WATCHDOG, "ZigAiHistoryCut"))
    told = [(10, [watchdog]), (60, [watchdog, cut]), (180, [watchdog, cut]), (300, [watchdog])]
    series = {table("prometheus")["cut_by_size"].name: "0x30 1x400"}
    questions = [{"expr": query, "eval_time": f"{minute}m", "exp_samples": fires} for minute, fires in told]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    promtool(rules_of("zig_ai"), [{"interval": "1m", "input_series": inputs, "promql_expr_test": questions}])


@pytest.mark.process
def test_a_programs_error_is_told_from_a_gpus(promtool):
    rules = rules_of("zig_ai", latency=Duration("2s"))
    peace = peace_of("zig_ai", rules)
    of_programs = [firing(peace | xid(number), {"alertname": "ZigAiGpuProgramError"}) for number in APPLICATION_XIDS]
    promtool(rules, of_programs + [firing(peace | xid(number), {"alertname": "ZigAiGpuError"}) for number in (48, 74, 79, 94, 119)])


def test_pods_and_nodes_are_missed_by_the_number_that_there_is_at_least(deploy, prod):
    """One answering pod of eight kept the alert silent."""
    assert {tuple(one.labels.values()): one.least for one in watched(rules_of("zig_ai"))} == {
        ("prometheus",): 1,
        **{(job,): 2 for job in ("gpu_utilization", "gpu_memory_usage", "gpu")},
        **{(job,): 4 for job in ("cpu_utilization", "memory_usage")},
        **{(job, "zig-ai-coordinator"): 2 for job in ("inference_latency", "throughput_rps", "inference")},
        **{(job, "zig-ai-shard"): 8 for job in ("inference_latency", "throughput_rps", "inference")},
    }
    scaled = deploy(changed(changed(prod, "sharding", pipelines=2), "autoscaling", enabled=True))
    [shards, *_] = [one for one in watched(rules_yaml(scaled.plan, scaled.workload)) if one.labels.get("app") == "zig-ai-shard"]
    assert shards.least == 8, "the autoscaler may leave one pipeline"


def test_a_server_that_reads_its_weights_is_waited_for(deployed):
    of_apps = [alert for alert in alerts_of(rules_of("zig_ai")) if "app=" in alert["expr"]]
    patience = {alert["expr"].split('app="')[1].split('"')[0]: alert["for"] for alert in of_apps}
    assert patience == {"zig-ai-coordinator": "10m", "zig-ai-shard": str(deployed.settings.rollout.model_load_timeout)}


def test_alerts_follow_the_settings():
    deployed = _deployed_stack("prod")
    config = deployed.settings.shard.config.model_copy(update={"gpu_memory_fraction": 0.8})
    settings = changed(changed(deployed.settings, "targets", latency=Duration("750ms")), "shard", config=config)
    rules = rules_yaml(dataclasses.replace(deployed.plan, settings=settings), deployed.workload)
    expressions = {alert["alert"]: alert["expr"] for alert in alerts_of(rules)}
    assert expressions["ZigAiLatencyAboveTarget"].endswith("> 0.75")
    assert expressions["ZigAiGpuMemoryBeyondPlan"].endswith("> 0.9")


_WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "bool", "offset", "group_left", "group_right", "inf", "nan"}


def metrics_in(expression):
    """Names of the metrics that a PromQL expression asks for."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", re.sub(r"\{[^}]*\}|\[[^]]*\]", "", bare))
    return {name for name in re.findall(r"[a-zA-Z_:][\w:]*(?!\w*\s*\()", bare) if name.lower() not in _WORDS}


@pytest.mark.process
def test_the_real_proxy_says_what_the_table_says(tmp_path):
    with pipelines(0.01) as made, running(arguments(*made), made, tmp_path) as proxy:
        proxy.infer()
        text = proxy.request("GET", "/metrics", port=proxy.metrics_port)[2].decode()
    assert list(differences("envoy", text)) == []


def said(exporters):
    """The series of these expositions that a table lists, counters rising."""
    found = {}
    for exporter in exporters:
        kinds = {name: metric.type for metric in table(exporter).values() for name in metric.series}
        for name, labels in series(exposition(exporter)):
            if name in kinds:
                more = {"node": "n"} if exporter == "dcgm" else {}
                found[labelled(name, **labels, **more)] = "5x90" if kinds[name] == "gauge" else "0+1x90"
    return found


@pytest.mark.process
def test_each_query_has_an_answer_from_each_release(promtool):
    """The release itself says so: what is recorded, alerted on and scaled by has data."""
    for server in KINDS:
        _, workload = of(server)
        # dev's target, with which Envoy was recorded: its buckets follow the target.
        text = rules_of(server, latency=Duration("10s"))
        rules = [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
        exporters = [server, "dcgm", "kubelet", "keda", "prometheus", *(["envoy"] if server != "zig_ai" else [])]
        asked = [rule["record"] for rule in rules if "record" in rule] + [workload.load_query]
        asked += [selector for rule in rules for selector in selectors(rule["expr"])]
        # Of scrape jobs and of XIDs there are as many as there are.
        queries = sorted({one for one in asked if not one.startswith("up{") and "xid!~" not in one})
        promtool(
            text,
            [
                {
                    "interval": "20s",
                    "input_series": [{"series": name, "values": values} for name, values in said(exporters).items()],
                    "promql_expr_test": [
                        {"expr": f"count({query}) > bool 0", "eval_time": "20m", "exp_samples": [{"labels": "{}", "value": 1}]}
                        for query in queries
                    ],
                }
            ],
        )
        assert {RECORDED[key].name for key in (*workload.signals, "latency_p95", "requests", "gpu_watts")} <= {*queries}


def selectors(expression):
    """The metrics that a PromQL expression asks for, with the labels they must have."""
    return {
        found[0]
        for found in re.finditer(r'(?<![\w:"$.])[a-zA-Z_:][\w:]*(\{(?:[^{}"]|"(?:[^"\\]|\\.)*")*\})?', expression)
        if re.match(r"[\w:]+", found[0])[0] in metrics_in(expression)
    }


@pytest.mark.parametrize("server", KINDS)
def test_every_metric_that_a_rule_asks_for_is_a_row_of_a_table(server):
    """An alert on a series that does not exist looks like peace."""
    plan, workload = of(server)
    rules = yaml.safe_load(rules_yaml(plan, workload))
    exporters = [server, "dcgm", "kubelet", "keda", "prometheus", *(["envoy"] if server != "zig_ai" else [])]
    sent = {name for exporter in exporters for metric in table(exporter).values() for name in metric.series}
    recorded = {rule["record"] for group in rules["groups"] for rule in group["rules"] if "record" in rule}
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]] + [workload.load_query]
    unknown = {expression: metrics_in(expression) - sent - recorded for expression in asked}
    assert {expression: names for expression, names in unknown.items() if names} == {}, f"no server of {server} sends these series"


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("sum(zig_ai_queue) > 100", {"zig_ai_queue"}),
        ('sum by (le) (rate(a_bucket{b="c"}[5m]))', {"a_bucket"}),
        ('up{job="x"} == 0 or (count(up{job="x"} == 1) or vector(0)) < 3', {"up"}),
        ("sum by (node, gpu) (a) / sum by (node, gpu) (a + b)", {"a", "b"}),
        ('label_replace(a:b{le="5"}, "le", "0.00$1", "le", "(\\\\d)")', {"a:b"}),
    ],
)
def test_names_are_found_in_expressions(expression, names):
    assert metrics_in(expression) == names


@pytest.mark.process
def test_a_proxys_milliseconds_are_seconds_and_its_own_listener_is_not_counted(promtool):
    rules = rules_of("llama_cpp", latency=Duration("10s"))
    workload = of("llama_cpp")[1]
    of_metrics = {name.replace("coordinator", "metrics"): values for name, values in took(workload, 30).items()}
    query = 'group by (alertname) (ALERTS{alertname="ZigAiLatencyAboveTarget",alertstate="firing"})'
    promtool(
        rules,
        [
            {
                "interval": "1m",
                "input_series": [{"series": name, "values": values} for name, values in series.items()],
                "promql_expr_test": [{"expr": query, "eval_time": f"{FAULT}m", "exp_samples": [FIRES] * fires}],
            }
            for series, fires in ((took(workload, 30), True), (took(workload, 2), False), (of_metrics, False))
        ],
    )


FIRES = {"labels": '{alertname="ZigAiLatencyAboveTarget"}', "value": 1}


@pytest.mark.process
def test_the_guides_queries_answer_for_servers_with_other_names(promtool):
    """Its two commands, on the proxy's series: sixty requests a minute, each bound of Envoy's in seconds."""
    proxys = 'envoy_http_conn_manager_prefix="coordinator"'
    bucket = "envoy_http_downstream_rq_time_bucket"
    bounds = ("1", "5", "25", "250", "2500", "30000", "+Inf")
    series = {f'{bucket}{{{proxys},le="{le}"}}': "0+60x60" if le == "+Inf" or float(le) >= 2500 else "0+0x60" for le in bounds}
    series[f'envoy_http_downstream_rq_xx{{{proxys},envoy_response_code_class="2"}}'] = "0+60x60"
    seconds = {"0.001": 0, "0.005": 0, "0.025": 0, "0.250": 0, "2.500": 1, "30.000": 1, "+Inf": 1}
    p95 = 0.25 + 0.95 * (2.5 - 0.25)
    asked = [
        ("rate(zig_ai_inference_requests_total[5m])", [(',envoy_response_code_class="2"', 1)]),
        ("histogram_quantile(0.95, rate(zig_ai_inference_duration_seconds_bucket[5m]))", [("", p95)]),
        ("rate(zig_ai_inference_duration_seconds_bucket[5m])", [(f',le="{le}"', value) for le, value in seconds.items()]),
    ]
    queries = [
        {
            "expr": query,
            "eval_time": "40m",
            "exp_samples": [{"labels": f"{{{proxys}{labels}}}", "value": value} for labels, value in samples],
        }
        for query, samples in asked
    ]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    promtool(rules_of("llama_cpp"), [{"interval": "1m", "input_series": inputs, "promql_expr_test": queries}])
