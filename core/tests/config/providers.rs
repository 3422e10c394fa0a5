//! Every configuration in `docs/PROVIDERS.md` loads, and means what stands beside it.

use std::path::Path;

use meridian_core::identity::IdentityKind;

use super::{load_files, shown};

#[test]
fn every_example_of_the_document_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROVIDERS.md");
    let text = std::fs::read_to_string(path).unwrap();
    let blocks = text.split("```yaml\n").skip(1);
    let blocks: Vec<&str> = blocks
        .map(|block| block.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 6, "{}", blocks.len());
    let env: Vec<(&str, &str)> = [
        "ANTHROPIC_API_KEY",
        "OPENAI_API_KEY",
        "EXTERNAL_ID",
        "BEDROCK_KEY",
        "GEMINI_API_KEY",
        "AZURE_AI_API_KEY",
        "APP_ID",
        "APP_SECRET",
        "COHERE_API_KEY",
    ]
    .map(|name| (name, "value"))
    .to_vec();
    let mut kinds = [0; 3];
    for block in blocks {
        let azure = block.contains("AZURE_API_KEY");
        // With a key in the environment no Azure model would need an identity.
        let block = block.replace("os.environ/AZURE_API_KEY", "k");
        let key = "general_settings: {master_key: sk-0123456789abcdef}\n";
        let whole = format!("{key}{block}");
        let loaded = load_files(&[("c.yaml", &whole)], &env);
        assert!(
            loaded.problems.is_empty(),
            "{}\n{block}",
            shown(&loaded).join("\n")
        );
        let config = loaded.config.unwrap();
        for model in &config.models {
            let target = model.target.as_ref().unwrap();
            match target.identity.as_ref().map(|identity| &identity.kind) {
                Some(IdentityKind::Aws(_)) => kinds[0] += 1,
                Some(IdentityKind::Google(_)) => kinds[1] += 1,
                Some(IdentityKind::Entra(_)) => kinds[2] += 1,
                None => assert!(target.api_key.is_some() || model.model == "qwen3"),
            }
        }
        assert!(!azure || config.models.len() == 3);
    }
    assert_eq!(kinds, [4, 2, 1]);
}
