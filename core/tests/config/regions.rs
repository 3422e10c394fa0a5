//! Where nodes and deployments are, and where a model may be served.

use super::routing::{quiet, with_models};
use super::*;

#[test]
fn a_node_is_in_the_region_of_its_command_line_else_of_its_file() {
    let text = with_models(
        "meridian:\n  default_region: us-east-1\n  regions: {nearest: {us-east-1: [eu-west-1], \
         eu-west-1: [us-east-1, ap-southeast-1]}}\n\
         environment_variables: {MERIDIAN_REGION: nowhere}\n",
    );
    let regions = |variables: &[(&str, &str)]| {
        let (config, problems) = good(&text, variables);
        (config.routing.regions, problems)
    };
    let (file, problems) = regions(&[]);
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(
        (file.own.as_deref(), &*file.nearest),
        (Some("us-east-1"), &["eu-west-1".to_owned()][..])
    );
    let (given, problems) = regions(&[("MERIDIAN_REGION", "eu-west-1")]);
    assert_eq!(given.own.as_deref(), Some("eu-west-1"));
    assert_eq!(given.nearest, ["us-east-1", "ap-southeast-1"]);
    let far =
        "warning: meridian.default_region: no deployment is in this node's region `eu-west-1`";
    assert!(
        problems.len() == 1 && problems[0].contains(far),
        "{problems:?}"
    );
    let (unlisted, problems) = regions(&[("MERIDIAN_REGION", "sa-east-1")]);
    assert!(unlisted.nearest.is_empty());
    assert!(
        problems.join("\n").contains("no list for `sa-east-1`"),
        "{problems:?}"
    );
    let list = quiet("meridian: {default_region: a, regions: {nearest: [b, c]}}").regions;
    assert_eq!(list.nearest, ["b", "c"]);
    let bad = load_files(&[("c.yaml", &text)], &[("MERIDIAN_REGION", "eu west")]);
    let found = shown(&bad).join("\n");
    assert!(
        found.contains("error: `--region eu west`: expected a region name"),
        "{found}"
    );
}

#[test]
fn residency_of_a_model_is_one_set_that_some_deployment_can_meet() {
    let entry = |region: &str, allowed: &str| {
        format!(
            "  - {{model_name: m, litellm_params: {{model: mock/x, region_name: \
             {region}, allowed_regions: [{allowed}]}}}}\n"
        )
    };
    let list = |entries: &[String]| format!("{KEY}model_list:\n{}", entries.concat());
    let differ = load_text(&list(&[entry("a", "a"), entry("b", "a, b")]));
    let found = shown(&differ).join("\n");
    assert!(
        found.contains("c.yaml:4:5: error: model_list: `allowed_regions` differ among"),
        "{found}"
    );
    let (config, found) = good(&list(&[entry("a", "b")]), &[]);
    assert!(found[0].contains("no deployment of `m` is in one of its `allowed_regions`"));
    assert!(config.routing.regions.allowed_of_group["m"].contains("b"));
    let (open, found) = good(&list(&[entry("a", "")]), &[]);
    assert_eq!(found, Vec::<String>::new());
    assert!(open.routing.regions.allowed_of_group.is_empty());
    let bad = shown(&load_text(&list(&[entry("'e u'", "")]))).join("\n");
    assert!(
        bad.contains("litellm_params.region_name: expected a region name"),
        "{bad}"
    );
}
