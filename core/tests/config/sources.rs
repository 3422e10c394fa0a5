//! Files, includes, variables, and the configurations that we ship.

use super::*;

#[test]
fn includes_extend_lists_and_overwrite_the_rest_relative_to_the_including_file() {
    let files = [
        (
            "c.yaml",
            "include: [sub/a.yaml]\nmodel_list:\n  \
            - {model_name: m, litellm_params: {model: mock/m}}\n\
            router_settings: {num_retries: 7}\n",
        ),
        (
            "sub/a.yaml",
            "include: [../b.yaml]\nmodel_list:\n  \
            - {model_name: a, litellm_params: {model: mock/a}}\n\
            router_settings: {timeout: 5}\n",
        ),
        (
            "b.yaml",
            "general_settings: {master_key: sk-0123456789abcdef}\n\
            model_list: [{model_name: b, litellm_params: {model: mock/b, rpm: x}}]\n",
        ),
    ];
    let loaded = load_files(&files, &[]);
    assert_eq!(
        loaded.files,
        ["c.yaml", "sub/a.yaml", "b.yaml"].map(PathBuf::from)
    );
    let found = shown(&loaded);
    assert!(
        found[0].contains(
            "sub/a.yaml:4:1: notice: router_settings: replaces the whole of the \
        one at c.yaml:4"
        ),
        "{found:#?}"
    );
    assert!(found[1].starts_with("b.yaml:2:67: error: model_list[2].litellm_params.rpm:"));
    let fixed = files[2].1.replace(", rpm: x", "");
    let files = [files[0], files[1], ("b.yaml", fixed.as_str())];
    let config = load_files(&files, &[]).config.unwrap();
    let names: Vec<_> = config
        .models
        .iter()
        .map(|model| &*model.model_name)
        .collect();
    assert_eq!(names, ["m", "a", "b"]);
    assert_eq!(
        (config.routing.retries.retries, config.router.timeout),
        (2, Duration::from_secs(5))
    );
}

#[test]
fn an_include_that_is_missing_or_circular_is_refused_where_it_is_named() {
    let files = [
        ("c.yaml", "include:\n  - a.yaml\n  - none.yaml\n"),
        ("a.yaml", "include: [./x/../c.yaml]\n"),
    ];
    let found = shown(&load_files(&files, &[]));
    assert!(
        found.contains(
            &"a.yaml:1:11: error: include: c.yaml includes itself; remove one \
        link"
                .to_owned()
        ),
        "{found:#?}"
    );
    assert!(
        found.contains(
            &"c.yaml:3:5: error: include: cannot read none.yaml: no such \
        file"
                .to_owned()
        )
    );
}

#[test]
fn variables_come_from_the_file_first_and_become_booleans_and_numbers() {
    let text = format!(
        "{KEY}environment_variables: {{A: https://file.example/v1, B: os.environ/OUTER}}\n\
         litellm_settings: {{json_logs: os.environ/JSON, request_timeout: os.environ/SECONDS}}\n\
         model_list:\n  - model_name: m\n    litellm_params:\n      model: openai/x\n\
         \x20     api_base: os.environ/A\n      api_key: os.environ/B\n      \
         logprobs: os.environ/JSON\n"
    );
    let outer = [
        ("A", "https://process.example"),
        ("OUTER", "sk-o"),
        ("JSON", "True"),
        ("SECONDS", "9"),
    ];
    let (config, problems) = good(&text, &outer);
    assert_eq!(problems, Vec::<String>::new());
    let model = &config.models[0];
    let target = model.target.as_ref().unwrap();
    assert_eq!(target.base.to_string(), "https://file.example/v1");
    assert_eq!(target.api_key.as_ref().unwrap().reveal(), "sk-o");
    assert!(config.settings.json_logs);
    assert_eq!(config.settings.request_timeout, Duration::from_secs(9));
    assert_eq!(model.default_params["logprobs"], true);
    let bad = load_files(
        &[("c.yaml", &text)],
        &[("SECONDS", "secret-text"), ("OUTER", "k")],
    );
    let found = shown(&bad).join("\n");
    assert!(
        found.contains("litellm_settings.request_timeout: expected seconds"),
        "{found}"
    );
    assert!(!found.contains("secret-text"));
}

#[test]
fn the_union_of_real_configurations_loads_without_an_error() {
    let variables = union_variables();
    let text = std::fs::read_to_string(conf().join("union.yaml")).unwrap();
    let (config, problems) = good(&text, &variables);
    assert_eq!(config.settings.request_timeout, Duration::from_secs(600));
    assert_eq!(config.router.timeout, Duration::from_secs(60));
    assert!(config.general.block_robots && config.settings.json_logs && config.settings.prometheus);
    assert!(!config.settings.require_auth_for_metrics_endpoint);
    assert_eq!(config.settings.callbacks, ["otel", "arize", "langfuse"]);
    let budget = config.settings.budget.clone().unwrap();
    assert_eq!(
        (budget.max, budget.duration.as_deref()),
        (NanoUsd(50_000_000_000_000), Some("30d"))
    );
    let retention = config.general.spend_logs_retention;
    let kept = retention.as_ref().map(|retention| retention.keep);
    assert_eq!(kept, Some(Duration::from_secs(60 * 86_400)));
    let fallbacks = &config.routing.fallbacks.general["gpt-4o-uae-primary"];
    assert_eq!(fallbacks, &["claude-sonnet-bedrock-me"]);
    let latency = Strategy::LatencyBased(LatencyArgs::default());
    assert_eq!(config.routing.strategy, latency);
    let (cooldown, retries) = (&config.routing.cooldown, &config.routing.retries);
    assert_eq!(
        (cooldown.time.as_secs(), cooldown.allowed_fails),
        (30, None)
    );
    assert_eq!((retries.retries, retries.pause_min.as_secs()), (2, 10));
    let probes = config.routing.probes.unwrap();
    assert_eq!((probes.every.as_secs(), probes.billed_per_day), (300, None));
    assert!(!config.models[1].serves(Dialect::OpenAi));
    let said = |part: &str| assert!(problems.iter().any(|p| p.contains(part)), "{part}");
    said("warning: general_settings.max_budget: LiteLLM does not read this; it is applied");
    said("general_settings.redis_use_sentinel: LiteLLM does not read this; read as Sentinel");
    said("notice: general_settings.user_api_key_cache_ttl: ignored: keys are in memory");
    said("notice: router_settings.allowed_fails: 3 is the same as not set, as in LiteLLM");
    said("warning: litellm_settings.callbacks: callback `otel` is not in this version yet");
    assert!(
        !problems
            .iter()
            .any(|problem| problem.contains("set_verbose"))
    );
}

/// What the files that we ship ask the environment for.
fn every_variable() -> HashMap<String, String> {
    let mut variables = env(&union_variables());
    for name in [
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "AZURE_WEU_KEY",
        "FOUNDRY_KEY",
        "VLLM_KEY",
        "AZURE_US_KEY",
        "AZURE_EU_KEY",
        "AZURE_AP_KEY",
        "FOUNDRY_US_KEY",
        "FOUNDRY_EU_KEY",
    ] {
        variables.insert(name.to_owned(), "k".to_owned());
    }
    variables
}

#[test]
fn every_file_in_conf_loads_and_the_examples_without_a_word() {
    let variables = every_variable();
    let mut count = 0;
    for file in std::fs::read_dir(conf()).unwrap() {
        let path = file.unwrap().path();
        let mut read = |path: &Path| std::fs::read_to_string(path).map_err(|e| e.to_string());
        let loaded = load_with(&mut read, &path, &variables, MasterKey::Generated);
        let is_union = path.ends_with("union.yaml");
        let allowed = |severity| severity != Severity::Error && is_union;
        let bad: Vec<_> = loaded
            .problems
            .iter()
            .filter(|p| !allowed(p.severity))
            .collect();
        assert!(bad.is_empty(), "{}: {bad:#?}", path.display());
        count += 1;
    }
    assert!(count >= 6, "{count}");
}

#[test]
fn the_example_shows_every_setting_of_meridian_with_its_default() {
    let text = std::fs::read_to_string(conf().join("example.yaml")).unwrap();
    for row in meridian_core::config::keys::Section::Meridian.keys() {
        assert!(text.contains(&format!(" {}:", row.name)), "{}", row.name);
    }
}

#[test]
fn each_region_has_an_overlay_over_one_base() {
    let all = ["us-east-1", "eu-west-1", "ap-southeast-1"];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../regions");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), all.len());
    for own in all {
        let path = folder.join(format!("{own}.yaml"));
        let mut read = |path: &Path| std::fs::read_to_string(path).map_err(|e| e.to_string());
        let loaded = load(&mut read, &path, &every_variable());
        assert_eq!(shown(&loaded), Vec::<String>::new());
        assert_eq!(loaded.files.len(), 2);
        let config = loaded.config.unwrap();
        let latency = |strategy| matches!(strategy, Strategy::LatencyBased(_));
        assert!(latency(config.routing.strategy));
        let regions = &config.routing.regions;
        assert_eq!(regions.own.as_deref(), Some(own));
        let mut known = regions.nearest.clone();
        known.push(own.to_owned());
        known.sort_unstable();
        assert_eq!(known, ["ap-southeast-1", "eu-west-1", "us-east-1"], "{own}");
        let regions_of = |model: &str| {
            let members = config.models.iter().filter(|one| one.model_name == model);
            members
                .filter_map(|one| one.region_name.as_deref())
                .collect::<Vec<_>>()
        };
        assert_eq!(regions_of("llama"), [own], "the region's own model");
        assert_eq!(regions_of("gpt-4o"), all, "{own}");
        // The base's settings are there beside the overlay's.
        assert_eq!(config.routing.retries.attempts_max, 4);
        assert!(regions.allowed_of_group["gpt-4o-eu"].contains("eu-west-1"));
    }
}

#[test]
fn an_overlay_says_of_our_section_only_what_differs() {
    let files = [
        (
            "c.yaml",
            "include: [base.yaml]\nmeridian: {default_region: a, max_attempts: 2, \
             cooldown: {window_s: 9}}\n",
        ),
        (
            "base.yaml",
            "general_settings: {master_key: sk-0123456789abcdef}\n\
             model_list: [{model_name: m, litellm_params: {model: mock/m}}]\n\
             meridian: {max_attempts: 3, retry_budget: 0.5, cooldown: {window_s: 5, ramp_s: 5}, \
             affinity: {load_max: 0}}\n",
        ),
    ];
    let loaded = load_files(&files, &[]);
    let found = shown(&loaded);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].starts_with("base.yaml:3:105: error: meridian.affinity.load_max"),
        "{found:?}"
    );
    let fixed = files[1].1.replace("load_max: 0", "load_max: 1");
    let config = load_files(&[files[0], ("base.yaml", &fixed)], &[])
        .config
        .unwrap();
    let (retries, cooldown) = (&config.routing.retries, &config.routing.cooldown);
    assert_eq!(retries.attempts_max, 2);
    assert!((retries.budget - 0.5).abs() < f64::EPSILON);
    let seconds = [cooldown.window, cooldown.ramp].map(|time| time.as_secs());
    assert_eq!(seconds, [9, 5]);
    assert_eq!(config.models[0].region_name.as_deref(), Some("a"));
}

fn conf() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf")
}

fn union_variables() -> [(&'static str, &'static str); 8] {
    [
        ("MASTER_KEY", "sk-0123456789abcdef"),
        ("DATABASE_URL", "postgresql://u:p@db/litellm"),
        ("REDIS_SENTINEL_HOST", "sentinel"),
        ("REDIS_PASSWORD", "p"),
        ("REDIS_HOST", "redis"),
        ("REDIS_PORT", "6379"),
        ("AZURE_API_KEY", "k"),
        ("LITELLM_MASTER_KEY", "sk-0123456789abcdef"),
    ]
}
