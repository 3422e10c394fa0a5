//! Everything that a deployment can do wrong, in every API that streams, streaming or not: before
//! content another one answers; after it the client is told; the provider never sees more sends
//! than the request has.

use std::ops::RangeInclusive;

use meridian_testkit::config::{Config, MASTER_KEY};
use meridian_testkit::gateway::{Gateway, Setup};
use meridian_testkit::provider::{Provider, Row};
use meridian_testkit::raw::{BodyEnd, Request, Response, free_port};
use serde_json::json;

use super::{LARGE_BODY_BYTES, assert_good, deployment, sent_to};
use crate::endings::{told_in_error, told_in_stream};
use crate::world::{Api, World, binary, meta, rows_of, standard, with_section};

/// `max_attempts`, if the configuration says nothing.
const ATTEMPTS_MAX: usize = 6;
/// `max_attempts` of the second gateway.
const ATTEMPTS_FEW: usize = 2;

/// Something that a deployment does wrong.
#[derive(Clone, Copy)]
struct Fault {
    /// Directives of the fake provider for streams.
    stream: &'static str,
    /// The same for whole answers.
    whole: &'static str,
    /// What the client gets when nobody does better.
    status: u16,
    /// Where it happens.
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nobody listens.
    Refused,
    /// In HTTP/1.1.
    H1,
    /// In h2.
    H2,
}

const fn fault(stream: &'static str, whole: &'static str, status: u16) -> Fault {
    Fault {
        stream,
        whole,
        status,
        place: Place::H1,
    }
}

impl Fault {
    fn script(&self, stream: bool) -> &'static str {
        if stream { self.stream } else { self.whole }
    }

    /// Whether it strikes after the first content, where nothing can follow.
    fn is_late(&self, stream: bool) -> bool {
        stream && self.stream.contains("@8")
    }

    /// How many of `sends` failing ones the provider sees.
    fn seen(&self, sends: usize) -> RangeInclusive<usize> {
        match self.place {
            Place::Refused => 0..=0,
            // A connection that goes away takes others' requests with it before they are read.
            Place::H2 => 0..=sends,
            // Whoever names a time is not asked before it.
            Place::H1 if self.status == 429 => 1..=sends,
            Place::H1 => sends..=sends,
        }
    }
}

#[tokio::test]
async fn deployments_that_refuse_connections() {
    let refused = Fault {
        place: Place::Refused,
        ..fault("", "", 500)
    };
    all(refused).await;
}

#[tokio::test]
async fn deployments_that_reset_connections() {
    all(fault("+reset@head", "+reset@head", 500)).await;
}

#[tokio::test]
async fn deployments_that_stall_before_headers() {
    all(fault("+stall@head", "+stall@head", 408)).await;
}

#[tokio::test]
async fn deployments_that_stall_before_the_first_delta() {
    all(fault("+stall@1", "+stall@mid0", 408)).await;
}

#[tokio::test]
async fn deployments_that_are_rate_limited() {
    let limited = "+status=429+retry_after=1";
    all(fault(limited, limited, 429)).await;
}

#[tokio::test]
async fn deployments_that_answer_500() {
    all(fault("+status=500", "+status=500", 500)).await;
}

#[tokio::test]
async fn deployments_that_answer_200_with_an_error() {
    all(fault("+error=500", "+error=500", 500)).await;
}

#[tokio::test]
async fn deployments_that_answer_an_empty_200() {
    all(fault("+empty", "+empty", 500)).await;
}

#[tokio::test]
async fn deployments_whose_first_event_is_malformed() {
    let whole = "+truncate@mid0+framing=chunked";
    all(fault("+malformed@0", whole, 500)).await;
}

#[tokio::test]
async fn deployments_that_cut_their_answers() {
    let stream = "+tokens=20+reset@8";
    all(fault(stream, "+reset@mid0", 500)).await;
}

#[tokio::test]
async fn deployments_whose_connection_goes_away_after_the_body() {
    let away = Fault {
        place: Place::H2,
        ..fault("+goaway@head", "+goaway@head", 500)
    };
    all(away).await;
}

/// One combination of API and form.
#[derive(Clone, Copy)]
struct Cell {
    fault: Fault,
    api: Api,
    stream: bool,
}

impl Cell {
    fn all(fault: Fault) -> Vec<Self> {
        let forms = |api| {
            let cell = move |stream| Self { fault, api, stream };
            [true, false].map(cell)
        };
        Api::STREAMING.into_iter().flat_map(forms).collect()
    }

    /// A model's name: each has deployments of its own, so that none is left out for another's
    /// sake.
    fn name(&self, part: &str) -> String {
        let form = if self.stream { "stream" } else { "whole" };
        format!("{part}-{:?}-{form}", self.api).to_lowercase()
    }

    /// Models of this cell. In each the deployment that fails comes first.
    fn models(&self, mut config: Config, url: &str, bad_url: &str) -> Config {
        let script = self.fault.script(self.stream);
        let bad = |part: &str, more: &str| {
            (
                self.name(part),
                format!("{}-bad{script}", self.name(part)),
                format!("timeout: 0.4\nstream_timeout: 0.4\n{more}"),
            )
        };
        let good = |part: &str, more: &str| {
            (
                self.name(part),
                format!("{}-good", self.name(part)),
                more.to_owned(),
            )
        };
        let list = [
            bad("weighed", "weight: 1000000000"),
            good("weighed", "weight: 1"),
            bad("ordered", "order: 1"),
            good("ordered", "order: 2"),
            bad("single", ""),
            good("spare", ""),
            // Enough of them that no retry has to pause.
            bad("lost", "order: 1"),
            bad("lost", "order: 2"),
            bad("lost", "order: 3"),
            bad("lost2", "order: 1"),
            bad("lost2", "order: 2"),
            bad("lost2", "order: 3"),
            bad("few", "order: 1"),
            bad("few", "order: 2"),
            good("few", "order: 3"),
        ];
        for (name, script, more) in &list {
            let url = if script.contains("-bad") {
                bad_url
            } else {
                url
            };
            config = deployment(config, self.api, (name, script), url, more);
        }
        config
    }

    fn fallbacks(&self) -> [String; 3] {
        [("single", "spare"), ("lost", "lost2"), ("few", "spare")]
            .map(|(from, to)| format!("{{{}: [{}]}}", self.name(from), self.name(to)))
    }

    fn request(&self, plan: &Plan) -> Request {
        let mut body = self
            .api
            .body(&self.name(plan.model), &self.marker(plan), self.stream);
        if plan.large {
            body["pad"] = json!("x".repeat(LARGE_BODY_BYTES));
        }
        if plan.no_fallbacks {
            body["disable_fallbacks"] = json!(true);
        }
        Request::post(self.api.path(), &body)
            .bearer(MASTER_KEY)
            .field("x-litellm-num-retries", plan.retries)
    }

    fn marker(&self, plan: &Plan) -> String {
        self.name(plan.name)
    }
}

/// One request of a cell.
#[derive(Clone, Copy)]
struct Plan {
    name: &'static str,
    model: &'static str,
    retries: &'static str,
    large: bool,
    no_fallbacks: bool,
    /// Part of the model that answers; none if nobody does.
    answers: Option<&'static str>,
    /// Sends that it takes.
    sends: usize,
}

const fn plan(name: &'static str, model: &'static str, retries: &'static str) -> Plan {
    Plan {
        name,
        model,
        retries,
        large: false,
        no_fallbacks: false,
        answers: None,
        sends: 0,
    }
}

const PLANS: [Plan; 6] = [
    Plan {
        answers: Some("weighed"),
        sends: 2,
        ..plan("weighed", "weighed", "2")
    },
    Plan {
        large: true,
        answers: Some("ordered"),
        sends: 2,
        ..plan("ordered", "ordered", "2")
    },
    Plan {
        large: true,
        answers: Some("spare"),
        sends: 2,
        ..plan("single", "single", "0")
    },
    Plan {
        no_fallbacks: true,
        sends: 1,
        ..plan("alone", "lost", "0")
    },
    Plan {
        sends: 2,
        ..plan("pair", "lost", "0")
    },
    Plan {
        large: true,
        sends: ATTEMPTS_MAX,
        ..plan("lost", "lost", "2")
    },
];

/// With `max_attempts: 2`.
const PLANS_FEW: [Plan; 2] = [
    Plan {
        large: true,
        sends: ATTEMPTS_FEW,
        ..plan("few", "few", "2")
    },
    Plan {
        sends: ATTEMPTS_FEW,
        answers: Some("spare"),
        ..plan("fewspare", "single", "0")
    },
];

async fn all(fault: Fault) {
    let provider = Provider::start();
    // Its connections die with all that runs on them: nobody else's requests may be there.
    let away = Provider::start_tls();
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    let mut section = "retry_budget: 1\n".to_owned();
    std::fs::write(&ca, away.ca_pem().unwrap()).unwrap();
    section += &format!("upstream_ca_file: {}\n", ca.display());
    let url = provider.url();
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let away_url = away.url();
    let bad_url = match fault.place {
        Place::Refused => &nobody,
        Place::H1 => &url,
        Place::H2 => &away_url,
    };
    let cells = Cell::all(fault);
    let mut config = standard(&provider);
    for cell in &cells {
        config = cell.models(config, &url, bad_url);
    }
    let fallbacks: Vec<String> = cells.iter().flat_map(Cell::fallbacks).collect();
    let config = config.router(&format!("fallbacks: [{}]", fallbacks.join(", ")));
    let few = format!("{section}max_attempts: {ATTEMPTS_FEW}\n");
    let few = Setup::new(binary(), &with_section(config.clone(), &few));
    let (world, few) = tokio::join!(World::over(provider, config, &section), few.start());
    let seen = |marker: &str| {
        let mut rows = world.provider.attempts(marker);
        rows.extend(away.attempts(marker));
        rows.sort_by_key(|row| row.started);
        rows
    };
    run(&world.gateway, &seen, &cells, &PLANS).await;
    run(&few, &seen, &cells, &PLANS_FEW).await;
}

/// Sends every plan of every cell at once. `seen` are a marker's rows at the providers.
async fn run(gateway: &Gateway, seen: &dyn Fn(&str) -> Vec<Row>, cells: &[Cell], plans: &[Plan]) {
    // The node's own budget of further sends is full.
    for _ in 0..40 {
        let answer = gateway.send(&Api::Chat.ask("", "warm", false)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    let pairs = cells
        .iter()
        .flat_map(|cell| plans.iter().map(move |plan| (*cell, *plan)));
    let requests = pairs.map(|(cell, plan)| async move {
        let answer = gateway.send(&cell.request(&plan)).await;
        check(&cell, &plan, &answer, &seen(&cell.marker(&plan)));
        (cell, plan)
    });
    for (cell, plan) in futures::future::join_all(requests).await {
        let marker = cell.marker(&plan);
        let rows = rows_of(gateway, &marker).await;
        assert_eq!(rows.len(), 1, "{marker}: {rows:#?}");
        let failed = plan.answers.is_none() && !cell.fault.is_late(cell.stream);
        let late = cell.fault.status == 408;
        if failed && !late {
            assert_eq!(rows[0]["spend"], 0.0, "{marker}: {:#}", rows[0]);
        }
        if plan.answers.is_some() && !cell.fault.is_late(cell.stream) {
            assert_eq!(meta(&rows[0], "end_reason"), "complete", "{:#}", rows[0]);
            assert_eq!(rows[0]["completion_tokens"], 5, "{:#}", rows[0]);
        }
    }
}

fn check(cell: &Cell, plan: &Plan, answer: &Response, rows: &[Row]) {
    let (api, stream, fault) = (cell.api, cell.stream, cell.fault);
    let case = format!("{} {}", cell.marker(plan), fault.script(stream));
    let bad = sent_to(rows, "-bad");
    if fault.is_late(stream) {
        assert_eq!(answer.status(), 200, "{case}: {}", answer.text());
        assert_eq!(answer.end, BodyEnd::Complete, "{case}: {}", answer.text());
        told_in_stream(&case, api, answer, true);
        assert_eq!(rows.len(), 1, "{case}: sent again after content");
        return;
    }
    let Some(part) = plan.answers else {
        assert_eq!(answer.status(), fault.status, "{case}: {}", answer.text());
        assert_eq!(answer.end, BodyEnd::Complete, "{case}");
        told_in_error(&case, api, answer);
        assert!(fault.seen(plan.sends).contains(&bad), "{case}: {rows:#?}");
        return;
    };
    assert_good(&case, api, stream, answer);
    let winner = &rows.last().unwrap().model;
    assert!(
        winner.contains(&format!("{}-good", cell.name(part))),
        "{case}: {winner}"
    );
    assert!(
        fault.seen(plan.sends - 1).contains(&bad),
        "{case}: {rows:#?}"
    );
    assert_eq!(rows.len() - bad, 1, "{case}: {rows:#?}");
    let sent = rows.last().unwrap().request.clone().unwrap().json();
    let pad = sent["pad"].as_str().map_or(0, str::len);
    assert_eq!(pad, if plan.large { LARGE_BODY_BYTES } else { 0 }, "{case}");
    let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
    let moved = header("x-litellm-attempted-fallbacks") == "1";
    assert_eq!(moved, part == "spare", "{case}: {:?}", answer.head);
}
