//! The page, the catalogue, LiteLLM's table and `docs/METRICS.md` name the same families.

use meridian_core::health::{LinkHealth, Propagation};
use meridian_core::translate::{Change, Loss};

use super::*;

const DOCS: &str = include_str!("../../../../docs/METRICS.md");
const LITELLM: &str = include_str!("../litellm-1.87.1.tsv");

const RESULTS: [(&str, u64); 5] = [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)];

/// What the page says of a family.
#[derive(Debug, Default, PartialEq)]
struct OnPage {
    kind: String,
    labels: BTreeSet<String>,
}

/// Reads the text format strictly: every sample belongs to the family above it.
fn families(page: &str) -> BTreeMap<String, OnPage> {
    let mut families: BTreeMap<String, OnPage> = BTreeMap::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            current = rest.split_once(' ').unwrap().0.to_owned();
            let twice = families.insert(current.clone(), OnPage::default());
            assert!(twice.is_none(), "{current} twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, current);
            families.get_mut(name).unwrap().kind = kind.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            assert!(seen.insert(series.to_owned()), "{series} twice");
            assert!(series.starts_with(&current), "{series} under {current}");
            let labels = series.split_once('{').map_or("", |(_, rest)| rest);
            let names = labels.split("\",").filter_map(|pair| pair.split_once('='));
            let family = families.get_mut(&current).unwrap();
            family.labels.extend(names.map(|(name, _)| name.to_owned()));
            family.labels.remove("le");
        }
    }
    families
}

/// A node with another region.
fn propagation() -> Propagation {
    let told = LinkHealth {
        up: true,
        watermark: Some(WallMs(0)),
    };
    Propagation {
        store: Some(true),
        caught_up: Some(WallMs(0)),
        snapshot: Some(WallMs(0)),
        links: [("eu-west-1".to_owned(), told)].into(),
        ..Propagation::default()
    }
}

/// A process in which everything has happened once.
fn cache() -> CacheGauges {
    CacheGauges {
        redis_up: Some(true),
        lookups: RESULTS,
        errors: RESULTS,
        ..CacheGauges::default()
    }
}

fn rights() -> RightsGauges {
    RightsGauges {
        links: vec![("eu".to_owned(), true, 1)],
        ..RightsGauges::default()
    }
}

fn full_page() -> String {
    let metrics = metrics();
    let mut all = record(1);
    all.usage.prompt_audio = 1;
    all.usage.completion_audio = 1;
    all.price_unknown = true;
    settle(&metrics, &all, &LABELS);
    for said in [CacheAnswer::Hit, CacheAnswer::Miss] {
        metrics.observe(&Ended {
            record: &all,
            labels: &LABELS,
            total: Duration::ZERO,
            overhead: Duration::ZERO,
            upstream: None,
            ttft: None,
            gaps: &GapSketch::default(),
            cache: Some(said),
        });
    }
    metrics.rejected(&Payer::default(), &LABELS, &GatewayError::NoKey);
    metrics.soft_budget_crossed("key");
    metrics.batch_failed("late");
    metrics.batch_billed("gpt-4o", "openai");
    metrics.translation_lost(&Loss {
        field: "seed".into(),
        change: Change::Dropped,
        reason: "a test",
    });
    let deployment = DeploymentLabels {
        id: "d1",
        model: "gpt-4o",
        api_base: "https://api.openai.com/v1",
        provider: "openai",
    };
    metrics.attempt_failed(&FailedAttempt {
        payer: &all.payer,
        labels: &LABELS,
        deployment: &deployment,
        outcome: AttemptOutcome::Stall,
        status: 408,
    });
    metrics.deployment_cooled_down(&deployment, 429);
    metrics.reloaded(false);
    metrics.panicked();
    let budget = KeyBudget {
        key: KeyHash::of_secret("sk-1"),
        alias: Some("a"),
        limit: NanoUsd::DOLLAR,
        remaining: NanoUsd(-5),
        resets_in: Some(Duration::from_secs(5_400)),
    };
    let gauges = Gauges {
        propagation: propagation(),
        key_budgets: vec![budget],
        deployments: vec![DeploymentGauges {
            labels: deployment,
            state: DeploymentState::PartialOutage,
            ttft: Some(Duration::from_millis(250)),
            score: 0.5,
            in_flight: 3,
        }],
        retry_budget_left: 10,
        cache: Some(cache()),
        rights: Some(rights()),
        ..Gauges::default()
    };
    String::from_utf8(metrics.render(&gauges)).unwrap()
}

#[test]
fn the_page_holds_what_the_catalogue_says() {
    let page = full_page();
    let on_page = families(&page);
    for described in catalogue() {
        let family = on_page.get(described.name);
        let family = family.unwrap_or_else(|| panic!("{} is not shown", described.name));
        assert_eq!(family.kind, described.kind.name(), "{}", described.name);
        let labels = described.labels.iter().map(ToString::to_string);
        assert_eq!(family.labels, labels.collect(), "{}", described.name);
    }
    assert_eq!(on_page.len(), catalogue().len(), "{:?}", on_page.keys());
    for line in [
        "meridian_deployment_ewma_ttft_seconds{deployment=\"d1\"} 0.25",
        "meridian_deployment_score{deployment=\"d1\"} 0.5",
        "meridian_deployment_in_flight{deployment=\"d1\"} 3",
        "meridian_retry_budget_left 10",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}");
    }
    let hours = "litellm_api_key_budget_remaining_hours_metric{api_key_alias=\"a\",";
    let hours = page.lines().find(|line| line.starts_with(hours)).unwrap();
    assert!(hours.ends_with(" 1.5"), "{hours}");
}

#[test]
fn litellms_families_have_litellms_types_and_labels_or_are_listed_as_absent() {
    let (_, absent) = DOCS
        .split_once("## LiteLLM metrics that are absent")
        .unwrap();
    let ours = catalogue();
    let mut present = 0;
    for line in LITELLM.lines().filter(|line| !line.starts_with('#')) {
        let [name, kind, labels] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("not three columns: {line}");
        };
        let on_wire = match kind {
            "counter" => format!("{name}_total"),
            _ => name.to_owned(),
        };
        let is_absent = absent.contains(&format!("`{name}`"));
        match ours.iter().find(|described| described.name == on_wire) {
            None => assert!(is_absent, "{name} is neither shown nor listed as absent"),
            Some(described) => {
                assert!(!is_absent, "{name} is shown and listed as absent");
                assert_eq!(described.kind.name(), kind, "{name}");
                assert_eq!(described.labels.join(","), labels, "{name}");
                present += 1;
            }
        }
    }
    let named_so = ours.iter().filter(|it| it.name.starts_with("litellm_"));
    assert_eq!(
        named_so.count(),
        present,
        "a litellm_ name that LiteLLM does not have"
    );
}

#[test]
fn the_documentation_describes_every_family_and_no_other() {
    let (shown, _) = DOCS
        .split_once("## LiteLLM metrics that are absent")
        .unwrap();
    let rows = shown.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeSet<_> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 8, "{row}");
            assert!(cells[1..7].iter().all(|cell| !cell.is_empty()), "{row}");
            let labels = cells[3].replace(['`', '–'], "");
            let name = cells[1].trim_matches('`').to_owned();
            (name, cells[2].to_owned(), labels)
        })
        .collect();
    let ours: BTreeSet<_> = catalogue()
        .into_iter()
        .map(|family| {
            let kind = family.kind.name().to_owned();
            (family.name.to_owned(), kind, family.labels.join(", "))
        })
        .collect();
    let differences: Vec<_> = ours.symmetric_difference(&documented).collect();
    assert!(differences.is_empty(), "{differences:#?}");
}
