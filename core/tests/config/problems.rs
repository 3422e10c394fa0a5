//! What is wrong is said, all of it, where it is.

use super::*;

#[test]
fn every_problem_is_reported_at_once_at_its_place() {
    let text = "\
model_list:
  - model_name: a
    litellm_params:
      model: openai/gpt-4o
      api_key: k
      rpm: -5
      api_base: api.example.com
      api_bsae: https://x
  - litellm_params:
      model: nowhere/x
  - model_name: b
general_settings:
  maximum_spend_logs_retention_period: 30 days
  mater_key: sk-1
router_settings:
  routing_strategy: least-latency
  num_retries: [2]
meridian:
  fsync: sometimes
  tls: {cert: a.pem}
";
    let loaded = load_text(text);
    assert!(loaded.config.is_none());
    let found = shown(&loaded);
    let expected = [
        "c.yaml:6:12: error: model_list[0].litellm_params.rpm: expected a whole number of at \
         least 0, got `-5`",
        "c.yaml:7:17: error: model_list[0].litellm_params.api_base: expected a URL that begins",
        "c.yaml:8:7: warning: model_list[0].litellm_params.api_bsae: unknown; did you mean \
         `api_base`?",
        "c.yaml:9:5: error: model_list[1].model_name: required",
        "c.yaml:11:5: error: model_list[2].litellm_params.model: required",
        "c.yaml:13:3: error: general_settings.master_key: required",
        "c.yaml:13:40: error: general_settings.maximum_spend_logs_retention_period: expected a \
         duration such as 30s, 15m, 12h, 30d, 2w or 1mo, got `30 days`",
        "c.yaml:14:3: warning: general_settings.mater_key: unknown, no effect; did you mean \
         `master_key`?",
        "c.yaml:16:21: error: router_settings.routing_strategy: no such strategy; did you mean \
         `latency-based-routing`?",
        "c.yaml:17:16: error: router_settings.num_retries: expected a whole number",
        "c.yaml:19:10: error: meridian.fsync: expected one of interval, always, never, got \
         `sometimes`",
        "c.yaml:20:8: error: meridian.tls.key: required",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn a_syntax_error_has_a_place_too() {
    let found = shown(&load_text("model_list:\n  - a: [1, 2\nb: c\n"));
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("c.yaml:3:2: error: not YAML: "),
        "{}",
        found[0]
    );
    for text in ["", "just text", "- a\n- b\n"] {
        let found = shown(&load_text(text));
        assert!(
            found[0].starts_with("c.yaml:1:1: error: expected a mapping"),
            "{found:?}"
        );
    }
}

#[test]
fn without_a_master_key_nothing_starts() {
    let model = "model_list: [{model_name: m, litellm_params: {model: mock/m}}]\n";
    let loaded = load_text(model);
    assert!(loaded.config.is_none());
    assert!(shown(&loaded)[0].contains("general_settings.master_key: required"));
    let variable = [("LITELLM_MASTER_KEY", "sk-0123456789abcdef")];
    let (config, problems) = good(model, &variable);
    assert_eq!(problems, Vec::<String>::new());
    assert!(
        config
            .general
            .master_key
            .unwrap()
            .matches("sk-0123456789abcdef")
    );
    let unset = shown(&load_text(&format!(
        "{model}general_settings: {{master_key: os.environ/NOPE}}"
    )));
    assert!(unset[1].contains("warning: general_settings.master_key: environment variable `NOPE`"));
    assert!(unset[0].contains("error: general_settings.master_key: required"));
    let weak = shown(&load_text(&format!(
        "{model}general_settings: {{master_key: hello}}"
    )));
    assert!(weak[0].contains("does not begin with `sk-`") && weak[1].contains("easy to guess"));
}

#[test]
fn other_forms_that_people_write_are_accepted_with_what_to_write_instead() {
    let found = problems_of(
        "router_settings:\n  fallbacks: [{model: m, fallback_models: [m]}]\n  \
         retry_policy: [{status_code: 429, retry_after: 1}]\n  health_check_interval: 3\n\
         litellm_settings: {master_key: x, default_fallbacks: [gone]}\n",
    )
    .join("\n");
    for part in [
        "c.yaml:4:15: warning: router_settings.fallbacks: LiteLLM does not read this form; write \
         `m: [...]`",
        "c.yaml:5:17: warning: router_settings.retry_policy: ignored: LiteLLM wants a mapping",
        "health_check_interval: LiteLLM refuses this here; write it under `general_settings`",
        "litellm_settings.master_key: has no effect here; write it under `general_settings`",
        "no model `gone` in `model_list`",
    ] {
        assert!(found.contains(part), "{part}\n{found}");
    }
    assert!(!found.contains(": error: "), "{found}");
}

#[test]
fn each_mistake_is_one_problem_that_says_what_would_be_right() {
    for (rest, expected) in [
        (
            "router_settings: {model_group_alias: {a: gone}}",
            "error: router_settings.model_group_alias.a: no model `gone`",
        ),
        (
            "router_settings: {model_group_alias: {m: m, b: b}}",
            "model_group_alias.b: leads in a circle",
        ),
        ("router_settings: {num_retries: 2.5}", "got `2.5`"),
        (
            "router_settings: {timeout: soon}",
            "expected seconds, at least 0, got `soon`",
        ),
        (
            "litellm_settings: {max_budget: 5, budget_duration: 1y}",
            "expected a duration",
        ),
        (
            "litellm_settings: {budget_duration: 1d}",
            "without `max_budget`",
        ),
        (
            "litellm_settings: {timezone: Mars/Base}",
            "no such time zone",
        ),
        (
            "litellm_settings: {json_logs: maybe}",
            "expected true or false, got `maybe`",
        ),
        (
            "litellm_settings: {callbacks: [my.hook]}",
            "`my.hook` is Python",
        ),
        (
            "meridian: {body_bytes_max: 0}",
            "expected a whole number from 1 to",
        ),
        (
            "meridian: {buffered_bytes_max: 100}",
            "less than one body of 33554432 bytes",
        ),
        (
            "meridian: {trusted_proxies: [10.0.0.0/99]}",
            "expected a count up to 16",
        ),
        (
            "meridian: {admin_bind: here}",
            "expected an address with a port",
        ),
        (
            "meridian: {price_map: {url: prices}}",
            "meridian.price_map.url: expected a URL",
        ),
        ("meridian: {kepalive_s: 3}", "did you mean `keepalive_s`?"),
        ("modle_list: []", "did you mean `model_list`?"),
    ] {
        let found = problems_of(rest);
        assert!(!found.is_empty() && found.len() <= 2, "{rest}: {found:#?}");
        assert!(found[0].contains(expected), "{rest}: {found:#?}");
    }
}

#[test]
fn neither_the_configuration_nor_its_problems_show_a_secret() {
    let text = "general_settings: {master_key: canary-1, database_url: {x: canary-2}}\n\
        model_list: [{model_name: m, litellm_params: {model: openai/x, api_key: canary-3, \
        api_base: 'http://u:canary-4@h/v1', extra_headers: {a: canary-5}}}]\n\
        litellm_settings: {cache_params: {password: canary-6, host: h}}\n";
    let found = format!("{:?}", load_text(text));
    assert!(!found.contains("canary"), "{found}");
    let fixed = text
        .replace("{x: canary-2}", "'postgresql://u:canary-2@h/n'")
        .replace("u:canary-4@", "");
    let (config, problems) = good(&fixed, &[]);
    assert!(!format!("{config:?} {problems:?}").contains("canary"));
}

#[test]
fn a_base_url_whose_variable_is_not_set_never_becomes_the_providers_default() {
    let text = |base: &str| {
        format!(
            "{KEY}model_list: [{{model_name: m, litellm_params: \
             {{model: openai/x, api_key: k, api_base: {base}}}}}]"
        )
    };
    let unset = load_text(&text("os.environ/VLLM_URL"));
    assert!(unset.config.is_none());
    let found = shown(&unset).join("\n");
    assert!(
        found.contains("error: model_list[0].litellm_params.api_base: its variable is not set")
    );
    assert!(load_text(&text("null")).config.is_some());
}

#[test]
fn what_new_keys_get_is_checked_where_it_is_written() {
    let text = "\
litellm_settings:
  default_key_generate_params: {max_budget: 20, duration: 30d, models: gpt-4o, tpm_limit: '7'}
  upperbound_key_generate_params:
    max_budget: 10
    duration: 7d
    rpm_limit: many
    max_bugdet: 5
    budget_duration: 30 days
  key_generation_settings:
    personal_key_generation: {required_params: [key_alias], allowed_user_roles: [proxy_admin]}
";
    let found = shown(&load_text(&format!("{KEY}{text}")));
    let settings = "litellm_settings";
    let expected = [
        format!(
            "error: {settings}.default_key_generate_params.max_budget: over \
            `upperbound_key_generate_params.max_budget`"
        ),
        format!("error: {settings}.default_key_generate_params.duration: over"),
        format!("error: {settings}.upperbound_key_generate_params.rpm_limit: expected a whole"),
        format!(
            "warning: {settings}.upperbound_key_generate_params.max_bugdet: unknown, no \
            effect; did you mean `max_budget`?"
        ),
        format!(
            "error: {settings}.upperbound_key_generate_params.budget_duration: expected a \
            duration"
        ),
        format!(
            "notice: {settings}.key_generation_settings.personal_key_generation.\
            allowed_user_roles: ignored: only administrators"
        ),
    ];
    for expected in expected {
        let hits = found.iter().filter(|line| line.contains(&expected)).count();
        assert_eq!(hits, 1, "{expected}: {found:#?}");
    }
}

#[test]
fn new_keys_are_read_with_the_types_of_their_fields() {
    let text = "\
model_list: [{model_name: m, litellm_params: {model: mock/m}}]
litellm_settings:
  default_key_generate_params: {max_budget: '2.5', models: gpt-4o, tpm_limit: 7, user_id: 42}
  upperbound_key_generate_params: {max_budget: 2.5, budget_duration: 30d}
  key_generation_settings: {team_key_generation: {required_params: [tags]}}
";
    let (config, problems) = good(&format!("{KEY}{text}"), &[]);
    let new_keys = config.new_keys;
    let defaults = serde_json::json!({
        "max_budget": 2.5, "models": ["gpt-4o"], "tpm_limit": 7, "user_id": "42",
    });
    assert_eq!(serde_json::Value::Object(new_keys.defaults), defaults);
    let bounds = serde_json::json!({"max_budget": 2.5, "budget_duration": "30d"});
    assert_eq!(serde_json::Value::Object(new_keys.upper_bounds), bounds);
    assert_eq!(new_keys.required_of_team, ["tags"]);
    assert!(new_keys.required_of_person.is_empty());
    let about_keys = |line: &&String| line.contains("key_gener");
    assert_eq!(problems.iter().find(about_keys), None);
}
