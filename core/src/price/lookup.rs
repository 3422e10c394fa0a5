//! Which entry of the price map a deployment's model means.

use std::sync::Arc;

use super::{ModelPrice, PriceBook};

/// Name forms tried for one model.
const FORMS_MAX: usize = 16;
/// Longest model name that is looked up; no provider has names near this.
const NAME_BYTES_MAX: usize = 512;

/// Whether an entry found by its bare name may belong to another provider.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// The operator named it as the base model.
    AnyProvider,
    /// The name may be a coincidence: a self-hosted `gpt-4o` does not cost what OpenAI charges.
    SameProvider,
}

impl PriceBook {
    /// The price of a provider's model. `base_model` is tried first when the operator set it; for
    /// each name: `{provider}/{name}`, then the bare name, then forms without routing prefix,
    /// region, date, version or fine-tune suffix, then all of it ignoring case. `None` means that
    /// the price is unknown.
    pub fn find(
        &self,
        provider: &str,
        model: &str,
        base_model: Option<&str>,
    ) -> Option<Arc<ModelPrice>> {
        self.find_in_region(provider, None, model, base_model)
    }

    /// Like [`PriceBook::find`], trying `{provider}/{region}/{name}` before `{provider}/{name}`.
    pub fn find_in_region(
        &self,
        provider: &str,
        region: Option<&str>,
        model: &str,
        base_model: Option<&str>,
    ) -> Option<Arc<ModelPrice>> {
        base_model
            .and_then(|base| self.resolve(provider, region, base, Trust::AnyProvider))
            .or_else(|| self.resolve(provider, region, model, Trust::SameProvider))
    }

    /// Price of an image request: entries named by quality and size (`hd/1024-x-1024/dall-e-3`)
    /// go before the model's own. `size` is `WIDTHxHEIGHT`.
    pub fn find_image(
        &self,
        provider: &str,
        model: &str,
        quality: Option<&str>,
        size: Option<&str>,
    ) -> Option<Arc<ModelPrice>> {
        let bare = bare(provider, model);
        let size = size.map(|size| match size.split_once('x') {
            Some((width, height)) if digits(width, 1) => format!("{width}-x-{height}"),
            _ => size.to_owned(),
        });
        let names = [
            join(&[quality, size.as_deref(), Some(bare)]),
            join(&[quality, Some(bare)]),
            join(&[size.as_deref(), Some(bare)]),
        ];
        let exact = |name: &String| {
            let prefixed = self.entries.get(format!("{provider}/{name}").as_str());
            let own = |price: &&Arc<ModelPrice>| compatible(provider, price.provider());
            prefixed.or_else(|| self.entries.get(name.as_str()).filter(own))
        };
        let sized = names.iter().find_map(exact).cloned();
        sized.or_else(|| self.find(provider, model, None))
    }

    fn resolve(
        &self,
        provider: &str,
        region: Option<&str>,
        model: &str,
        trust: Trust,
    ) -> Option<Arc<ModelPrice>> {
        if model.is_empty() || model.len() > NAME_BYTES_MAX {
            return None;
        }
        let forms = forms(provider, model);
        let by = |fold: bool| {
            forms
                .iter()
                .find_map(|name| self.by_name(provider, region, name, trust, fold))
        };
        by(false).or_else(|| by(true)).cloned()
    }

    fn by_name(
        &self,
        provider: &str,
        region: Option<&str>,
        name: &str,
        trust: Trust,
        fold: bool,
    ) -> Option<&Arc<ModelPrice>> {
        let get = |key: &str| {
            if fold {
                self.folded(key)
            } else {
                self.entries.get(key)
            }
        };
        let regional = || get(&format!("{provider}/{}/{name}", region?));
        let trusted = |price: &&Arc<ModelPrice>| {
            trust == Trust::AnyProvider || compatible(provider, price.provider())
        };
        regional()
            .or_else(|| get(&format!("{provider}/{name}")))
            .or_else(|| get(name).filter(trusted))
            .or_else(|| get(&format!("{}/{name}", relative(provider)?)))
    }

    fn folded(&self, key: &str) -> Option<&Arc<ModelPrice>> {
        let lower = key.to_ascii_lowercase();
        let key = self.folded.get(lower.as_str()).map(AsRef::as_ref);
        self.entries.get(key.unwrap_or(&lower))
    }
}

/// Spellings of a model from the most exact to the most general.
fn forms<'a>(provider: &str, model: &'a str) -> Vec<&'a str> {
    let name = bare(provider, model);
    // As given first: `perplexity/perplexity/x` is a key of the map.
    let mut forms = vec![model];
    let mut add = |form: Option<&'a str>| {
        let new = form.filter(|form| !form.is_empty() && !forms.contains(form));
        if let Some(form) = new
            && forms.len() < FORMS_MAX
        {
            forms.push(form);
        }
    };
    add(Some(name));
    if provider.starts_with("bedrock") || provider == "sagemaker" {
        let id = bedrock_id(name);
        add(Some(id));
        let global = without_geography(id);
        add(Some(global));
        for form in [id, global] {
            add(strip_version(form));
            add(strip_version(form).and_then(strip_date));
        }
        return forms;
    }
    if name.starts_with("ft:") {
        // A fine-tuned model is never priced as its base: only the organisation's part goes.
        add(fine_tune_base(name));
        return forms;
    }
    let undated = strip_date(name);
    add(undated);
    if provider.starts_with("vertex_ai") || provider == "gemini" {
        add(strip_revision(name));
    }
    // Last: the name after another provider's prefix, as in `openai/gpt-4o` given as base model.
    let unprefixed = name.split_once('/').map(|(_, rest)| rest);
    add(unprefixed);
    add(unprefixed.and_then(strip_date));
    forms
}

/// The model without its provider's prefix, even when it is there twice.
fn bare<'a>(provider: &str, model: &'a str) -> &'a str {
    let mut name = model;
    while let Some(rest) = name
        .strip_prefix(provider)
        .and_then(|rest| rest.strip_prefix('/'))
        .filter(|rest| !rest.is_empty())
    {
        name = rest;
    }
    name
}

/// A Bedrock model id out of `converse/...`, `us-east-1/...` or an ARN.
fn bedrock_id(name: &str) -> &str {
    if name.starts_with("arn:") {
        return name.rsplit('/').next().unwrap_or(name);
    }
    let routes = ["bedrock", "converse", "converse_like", "invoke"];
    let mut id = name;
    while let Some((first, rest)) = id.split_once('/') {
        let region = first.bytes().filter(|byte| *byte == b'-').count() >= 2;
        if !routes.contains(&first) && !region {
            break;
        }
        id = rest;
    }
    id
}

/// Bedrock's id of a foundation model out of a name, a profile of several regions or an ARN that
/// names one of them.
pub fn foundation(name: &str) -> &str {
    without_geography(bedrock_id(name))
}

/// Without the cross-region prefix of an inference profile.
fn without_geography(id: &str) -> &str {
    let prefixes = [
        "us.", "eu.", "apac.", "jp.", "au.", "ca.", "us-gov.", "global.",
    ];
    prefixes
        .iter()
        .find_map(|prefix| id.strip_prefix(prefix))
        .unwrap_or(id)
}

/// `x-v1:0` and `x:0` are versions of `x`.
fn strip_version(id: &str) -> Option<&str> {
    let (name, revision) = id.rsplit_once(':')?;
    if !digits(revision, 1) {
        return None;
    }
    match name.rsplit_once("-v") {
        Some((name, version)) if digits(version, 1) => Some(name),
        _ => Some(name),
    }
}

/// A model's name without the date that a provider puts behind it.
pub fn undated(name: &str) -> &str {
    strip_date(name).unwrap_or(name)
}

/// `x-2024-08-06`, `x-20240806` and `x@20240806` are dates of `x`.
fn strip_date(name: &str) -> Option<&str> {
    if let Some((name, _)) = name.split_once('@') {
        return Some(name);
    }
    let (rest, last) = name.rsplit_once('-')?;
    if digits(last, 8) && last.len() == 8 {
        return Some(rest);
    }
    let (rest, month) = rest.rsplit_once('-')?;
    let (rest, year) = rest.rsplit_once('-')?;
    let is_date = (year.len(), month.len(), last.len()) == (4, 2, 2)
        && [year, month, last].iter().all(|part| digits(part, 1));
    is_date.then_some(rest)
}

/// Google's `x-001` is a revision of `x`.
fn strip_revision(name: &str) -> Option<&str> {
    let (rest, revision) = name.rsplit_once('-')?;
    digits(revision, 3).then_some(rest)
}

/// `ft:gpt-4o:org:suffix:id` is priced as `ft:gpt-4o`.
fn fine_tune_base(name: &str) -> Option<&str> {
    let end = name.match_indices(':').nth(1)?.0;
    name.get(..end)
}

fn digits(text: &str, min: usize) -> bool {
    text.len() >= min && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn join(parts: &[Option<&str>]) -> String {
    let parts: Vec<&str> = parts.iter().flatten().copied().collect();
    parts.join("/")
}

/// The provider under whose prefix the map keeps a relative's models.
fn relative(provider: &str) -> Option<&'static str> {
    match provider {
        "azure_ai" | "azure_text" => Some("azure"),
        "vertex_ai_beta" => Some("vertex_ai"),
        "cohere_chat" => Some("cohere"),
        "bedrock_converse" => Some("bedrock"),
        _ => None,
    }
}

/// Whether an entry of `owner` may price a model of `provider`.
fn compatible(provider: &str, owner: &str) -> bool {
    if owner.is_empty() || owner == provider {
        return true;
    }
    match provider {
        "vertex_ai" | "vertex_ai_beta" => owner.starts_with("vertex_ai"),
        "fireworks_ai" => owner.starts_with("fireworks_ai"),
        "azure_ai" => matches!(owner, "azure" | "openai"),
        "openai" | "text-completion-openai" => {
            matches!(owner, "openai" | "text-completion-openai")
        }
        "cohere" | "cohere_chat" => matches!(owner, "cohere" | "cohere_chat"),
        // Gateways that pass the other provider's names on.
        "litellm_proxy" | "github" => true,
        _ => provider.starts_with("bedrock") && owner.starts_with("bedrock"),
    }
}
