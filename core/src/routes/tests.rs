//! The table against clients' paths, a slow second opinion, and its published page.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use super::*;

mod reference;

fn found(method: &str, path: &str) -> Match<'static> {
    let path: &'static str = Box::leak(path.to_owned().into_boxed_str());
    resolve(method, path).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

#[test]
fn clients_reach_their_endpoint_by_every_alias() {
    let chat = Target::Inference(Endpoint::ChatCompletions);
    for path in [
        "/v1/chat/completions",
        "/chat/completions?api-version=2024-10-21",
    ] {
        assert_eq!(found("POST", path).target, chat);
    }
    let azure = found(
        "POST",
        "/openai/deployments/azure%2Fgpt-4o/chat/completions?api-version=1",
    );
    assert_eq!(azure.target, chat);
    assert_eq!(azure.path_model.as_deref(), Some("azure/gpt-4o"));
    assert_eq!(azure.canonical, "/chat/completions");
    let engine = found("POST", "/engines/openai/gpt-4o/embeddings");
    assert_eq!(engine.path_model.as_deref(), Some("openai/gpt-4o"));
    let bedrock = found("GET", "/v1/models/anthropic.claude-v2%3A1");
    assert_eq!(bedrock.path_model.as_deref(), Some("anthropic.claude-v2:1"));
    let item = found("DELETE", "/openai/v1/responses/resp_abc%3D");
    assert_eq!(item.id.as_deref(), Some("resp_abc="));
    assert_eq!(
        found("POST", "/responses/r1/cancel").id.as_deref(),
        Some("r1")
    );
    let compact = found("POST", "/v1/responses/compact");
    assert_eq!(compact.target, Target::Inference(Endpoint::ResponsesTool));
    assert_eq!(found("POST", "/v1/messages").dialect(), Dialect::Anthropic);
    assert_eq!(
        found("GET", "/metrics/").target,
        Target::Own(Route::Metrics)
    );
    assert_eq!(found("HEAD", "/").target, Target::Own(Route::Home));
}

#[test]
fn what_is_not_exactly_a_path_is_not_found() {
    let strange = [
        "",
        "v1/models",
        "//v1/models",
        "/v1//models",
        "/v1/models/",
        "/v1/./models",
        "/v1/x/../models",
        "/V1/models",
        "/v1/models;a=b",
        "/v1%2Fmodels",
        "/v1%2fmodels",
        "/%2e%2e/v1/models",
        "/v1/models%00",
        "/v1/models%20",
        "/v1/models#x",
        "\\v1\\models",
        "http://host/v1/models",
        "/v1/models/..",
        "/v1/models/%2e%2e",
        "/v1/models/a%2F..%2Fb",
        "/v1/models/a//b",
        "/v1/models/a%5Cb",
        "/v1/models/%zz",
        "/v1/models/%ff",
        "/v1/models/a%252Fb",
        "/v1/files/..",
        "/v1/files/a%2Fb",
        "/v1/files/a%3Fb=c",
        "/v1/files/a%0d%0ab",
        "/v1/responses//cancel",
        "/openai/deployments//chat/completions",
    ];
    for path in strange {
        assert_eq!(
            resolve("GET", path),
            Err(GatewayError::RouteNotFound),
            "{path:?}"
        );
    }
    let long = format!("/v1/models/{}", "a".repeat(PATH_BYTES_MAX));
    assert_eq!(resolve("GET", &long), Err(GatewayError::RouteNotFound));
    // The one repair that is made, and it is the same route afterwards.
    assert_eq!(
        found("GET", "/%761/mode%6Cs").target,
        Target::Own(Route::Models)
    );
}

#[test]
fn a_known_path_with_another_method_is_405() {
    let wrong = [
        ("GET", "/v1/chat/completions"),
        ("post", "/v1/chat/completions"),
        ("HEAD", "/v1/models"),
        ("PUT", "/v1/files/f1"),
        ("PATCH", "/team/t1"),
        ("GET", "/v1/responses/compact"),
        ("", "/"),
    ];
    for (method, path) in wrong {
        assert_eq!(
            resolve(method, path),
            Err(GatewayError::MethodNotAllowed),
            "{method} {path}"
        );
    }
}

#[test]
fn no_path_is_written_twice_and_every_target_has_one() {
    let mut paths = HashSet::new();
    let mut targets = HashSet::new();
    for row in ROWS {
        assert!(row.paths.contains(&row.canonical) || matches!(row.target, Target::Inference(_)));
        targets.insert(row.target.index());
        for path in row.paths {
            for method in row.methods {
                assert!(paths.insert((*path, *method)), "{method:?} {path} twice");
            }
            assert!(path.matches('{').count() <= 1, "{path} has two parameters");
            assert_eq!(found(row.methods[0].as_str(), &filled(path)).pattern, *path);
        }
    }
    // Which dialect the files of a path are in says its client.
    for endpoint in Endpoint::ALL {
        let spoken = Target::Inference(endpoint.spoken(true));
        if targets.contains(&Target::Inference(endpoint).index()) {
            targets.insert(spoken.index());
        }
    }
    // Positions have no gaps: every route has a row.
    assert!(targets.iter().all(|&index| index < targets.len()));
    assert!(targets.len() <= RouteSet::TARGETS_MAX);
}

/// Inference is where money is spent: the two ways to say so may not disagree.
#[test]
fn every_inference_row_asks_for_inference_access_and_no_other_row_does() {
    for row in ROWS {
        let provider = matches!(row.target, Target::Inference(_));
        assert_eq!(
            provider,
            row.access == Access::Inference,
            "{}",
            row.canonical
        );
    }
}

#[test]
fn allowed_routes_mean_what_litellm_documents() {
    let set = |entry: &str| RouteSet::of_entries(&[entry.to_owned()]);
    let chat = Target::Inference(Endpoint::ChatCompletions);
    let count = Target::Inference(Endpoint::CountTokens);
    let key_info = Target::Own(Route::KeyInfo);
    assert_eq!(RouteSet::of_entries(&[]), RouteSet::ALL);
    for entry in [
        "/chat/completions",
        "/v1/chat/completions",
        "/v1/*",
        "/v1/chat*",
        "/*",
    ] {
        assert!(set(entry).contains(chat), "{entry}");
    }
    for entry in [
        "/v1/chat/complet",
        "/v1/messages",
        "/",
        "chat",
        "",
        "nonsense_routes",
        "/key/*",
    ] {
        assert!(!set(entry).contains(chat), "{entry}");
    }
    assert!(set("/v1/messages").contains(count));
    assert!(set("anthropic_routes").contains(count) && !set("anthropic_routes").contains(chat));
    assert!(set("openai_routes").contains(chat) && !set("openai_routes").contains(count));
    assert!(set("llm_api_routes").contains(chat) && !set("llm_api_routes").contains(key_info));
    assert!(set("/key").contains(key_info) && set("/key/*").contains(key_info));
    assert!(set("info_routes").contains(key_info));
    assert!(
        set("/v1/responses/{response_id}").contains(Target::Inference(Endpoint::ResponsesItem))
    );
    let spend = set("spend_tracking_routes");
    assert!(spend.contains(Target::Own(Route::SpendLogs)) && !spend.contains(key_info));
    assert_eq!(set("nonsense"), RouteSet::NONE);
}

/// A path of the pattern's shape.
fn filled(path: &str) -> String {
    path.replace("{model}", "gpt-4o")
        .replace("{id}", "id-1")
        .replace("{key}", "sk-1")
}

#[test]
fn ten_thousand_mutated_requests_get_the_reference_decision() {
    let mut dice = reference::Dice(0x5eed);
    let mut found = 0;
    for _ in 0..10_000 {
        let (method, path) = reference::mutated_request(&mut dice);
        let fast = resolve(&method, &path);
        let slow = reference::decide(&method, &path);
        let fast_told = fast.as_ref().map(|found| {
            (
                found.target,
                found.access,
                found.pattern,
                found
                    .path_model
                    .clone()
                    .or(found.id.clone())
                    .map(Cow::into_owned),
            )
        });
        assert_eq!(fast_told.map_err(Clone::clone), slow, "{method} {path:?}");
        found += usize::from(fast.is_ok());
    }
    assert!(
        (2_000..9_000).contains(&found),
        "mutations hit both outcomes: {found}"
    );
}

/// Prints nanoseconds per look-up; asserts only what no slow machine can miss.
#[test]
fn looking_up_a_path_takes_nanoseconds() {
    const ROUNDS: u32 = 2_000;
    for path in [
        "/v1/chat/completions",
        "/openai/deployments/gpt-4o/chat/completions",
        "/nope",
    ] {
        let batch = |_| {
            let start = started();
            for _ in 0..ROUNDS {
                let _ = black_box(resolve(black_box("POST"), black_box(path)));
            }
            start.elapsed() / ROUNDS
        };
        // The fastest of many batches: other work on the machine stays out.
        let each = (0..50).map(batch).min().unwrap_or_default();
        println!("{path}: {each:?}");
        assert!(each.as_micros() < 20, "{path}: {each:?}");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a measurement needs a real clock"
)]
fn started() -> Instant {
    Instant::now()
}

/// `UPDATE_GOLDEN=1` rewrites the page.
#[test]
fn the_page_lists_the_table() {
    let mut page = String::from(
        "# Routes\n\nGenerated from `core/src/routes/table.rs` by its test \
         (`UPDATE_GOLDEN=1 cargo test -p meridian-core the_page_lists`). Do not edit.\n\n\
         A path is matched letter for letter after one normalisation: the query is cut off and\n\
         `%XX` of an unreserved character is decoded. Nothing else is repaired: `//`, `/../`,\n\
         another case or a trailing slash is 404. A public GET also answers HEAD.\n\n\
         | access | who |\n|---|---|\n\
         | Public | everyone, no key |\n\
         | Inference | any valid key; admitted, metered, settled |\n\
         | AnyKey | any valid key |\n\
         | OwnKeyOrAdmin | any valid key for its own; administrators and viewers for all |\n\
         | Delegated | administrators; others, but no viewers, for what is theirs |\n\
         | AdminViewer | administrators and viewers |\n\
         | Admin | administrators |\n\
         | MasterKey | the master key alone |\n\n\
         | methods | paths | runs | access |\n|---|---|---|---|\n",
    );
    for row in ROWS {
        let methods: Vec<_> = row.methods.iter().map(|method| method.as_str()).collect();
        let paths: Vec<_> = row.paths.iter().map(|path| format!("`{path}`")).collect();
        let runs = match row.target {
            Target::Inference(endpoint) => format!("{endpoint:?}"),
            Target::Own(route) => format!("{route:?}"),
        };
        let (methods, paths) = (methods.join(", "), paths.join(" "));
        writeln!(page, "| {methods} | {paths} | {runs} | {:?} |", row.access).unwrap();
    }
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ROUTES.md");
    if update_asked() {
        std::fs::write(file, &page).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(file).unwrap_or_default(),
        page,
        "run with UPDATE_GOLDEN=1"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "the switch is for people, in tests alone"
)]
fn update_asked() -> bool {
    std::env::var("UPDATE_GOLDEN").is_ok()
}
