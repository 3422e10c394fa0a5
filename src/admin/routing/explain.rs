//! `POST /router/explain`: where a request would go now, decided by the code that sends.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use meridian_core::auth::KeyView;
use meridian_core::error::GatewayError;
use meridian_core::routing::explain::{self as way, Step};
use meridian_core::routing::plan::{self, Candidate, Choice, Decision, Moment, Plan, Refused};
use meridian_core::routing::policy::FailureClass;
use meridian_core::routing::request::{Request, Turn, Wish};
use meridian_core::time::WallMs;
use meridian_core::wire::field::Field;
use meridian_core::wire::span::BodySpans;
use serde_json::{Value, json};

use super::super::access::AdminAccess;
use super::super::body::RawBody;
use super::super::state::{AdminState, Routes};
use super::question::Question;
use super::shape::{Shape, merge};
use super::{AdminError, Answer};
use crate::clock;
use crate::registry::RoutedBudgets;
use crate::rules::{Rules, Target};

/// A model that nothing is said of: what binds the caller alone.
const NO_GROUP: &str = "";

/// POST /router/explain. Nothing is sent, reserved or counted.
pub(in crate::admin) async fn explain(
    _: AdminAccess,
    State(state): State<AdminState>,
    RawBody(body): RawBody,
) -> Answer {
    let question = Question::read(&body, &state)?;
    let routes = state.routes();
    let asked = Asked::of(&question, &routes.rules)?;
    let budgets = (state.registry().routed(), state.now());
    let explanation = Explanation::new(&question, &asked, &routes, budgets);
    Ok(Json(explanation.shown()))
}

/// A question's request, understood.
struct Asked {
    /// The name that it asks for.
    model: String,
    /// The same after aliases.
    group: String,
    wish: Wish,
}

impl Asked {
    fn of(question: &Question, rules: &Rules) -> Result<Self, AdminError> {
        let (body, key) = (question.body.as_slice(), question.key.as_deref());
        let spans = BodySpans::scan(body).map_err(GatewayError::from)?;
        let named = spans.text(body, Field::Model).map_err(GatewayError::from)?;
        let named = named
            .map(|name| name.into_owned())
            .filter(|name| !name.is_empty());
        let model = question.path_model.clone().or(named);
        let model = model.ok_or(GatewayError::MissingField {
            route: question.canonical,
            field: "model",
        })?;
        if spans.has(Field::PreviousResponseId) {
            let message = "'previous_response_id': only the deployment that made the response can \
                           continue it, so nothing is chosen";
            return Err(bad_field(Field::PreviousResponseId, message.to_owned()));
        }
        let (group, found) = rules.reach(key, &model)?;
        let found = found.ok_or_else(|| GatewayError::UnknownModel {
            route: question.canonical,
            model: model.clone(),
        })?;
        if !found.serves(question.endpoint) {
            let (route, model) = (question.canonical, model);
            return Err(GatewayError::EndpointNotServed { route, model }.into());
        }
        let affinity = &rules.config.routing.affinity;
        let mut wish = Wish::read(question.endpoint, (&spans, body), &model, affinity)?;
        wish.tags.extend(question.tags.iter().cloned());
        wish.session = question.session.clone().or(wish.session);
        resolve_fallbacks(&mut wish, rules, key)?;
        if let Some(own) = key.and_then(|key| key.policy.overrides.as_deref()) {
            wish.inherit(own, &model);
        }
        Ok(Self { model, group, wish })
    }
}

/// Fallbacks that the request names are models that its key may use, aliases applied.
fn resolve_fallbacks(
    wish: &mut Wish,
    rules: &Rules,
    key: Option<&KeyView>,
) -> Result<(), AdminError> {
    let own = &mut wish.overrides;
    if own.disable_fallbacks {
        return Ok(());
    }
    for (field, list) in [
        (Field::Fallbacks, &mut own.fallbacks),
        (Field::ContextWindowFallbacks, &mut own.context_window),
        (Field::ContentPolicyFallbacks, &mut own.content_policy),
    ] {
        for name in list.iter_mut().flatten() {
            let (model, group) = rules.reach(key, name)?;
            if group.is_none() {
                let field_name = field.name();
                let message = format!("'{field_name}' names a model that there is not: {name}");
                return Err(bad_field(field, message));
            }
            *name = model;
        }
    }
    Ok(())
}

fn bad_field(field: Field, message: String) -> AdminError {
    let field = field.name().to_owned();
    GatewayError::BadField { field, message }.into()
}

/// The way of one request.
struct Explanation<'a> {
    question: &'a Question,
    asked: &'a Asked,
    routes: &'a Routes,
    shape: Shape<'a>,
    request: Request,
    /// Budgets that decide where requests go, and when they are looked at.
    budgets: (Arc<RoutedBudgets>, WallMs),
}

impl<'a> Explanation<'a> {
    fn new(
        question: &'a Question,
        asked: &'a Asked,
        routes: &'a Routes,
        budgets: (Arc<RoutedBudgets>, WallMs),
    ) -> Self {
        let shape = Shape::now(routes);
        let key = question.key.as_deref();
        let request = Request::of(&asked.wish, key, shape.policy);
        Self {
            question,
            asked,
            routes,
            shape,
            request,
            budgets,
        }
    }

    fn shown(&self) -> Value {
        let (policy, now) = (self.shape.policy, self.shape.now);
        let overrides = &self.asked.wish.overrides;
        let mut decide = |group: &str, last_resort| self.decide(group, last_resort);
        let steps = way::walk(&self.asked.group, overrides, (policy, now), &mut decide);
        let after = |class| way::after(class, &self.asked.group, overrides, (policy, now));
        let key = self.question.key.as_deref();
        let retries = overrides.num_retries.unwrap_or(policy.retries.retries);
        json!({
            "at": self.shape.wall.to_iso(),
            "route": self.question.canonical,
            "model": self.asked.model,
            "model_group": self.asked.group,
            "key": key.map(|key| key.policy.token),
            "allowed_regions": policy.regions.allowed(NO_GROUP, &self.request.residency),
            "tags": self.request.tags,
            "prompt_tokens": self.request.prompt_tokens,
            "tokens": self.request.tokens,
            "has_affinity": self.request.affinity.is_some(),
            "outcome": self.outcome(&steps),
            "groups": steps.iter().map(|step| self.step(step)).collect::<Vec<_>>(),
            "context_window_fallbacks": after(FailureClass::ContextWindow),
            "content_policy_fallbacks": after(FailureClass::ContentPolicy),
            "num_retries": retries,
            "max_attempts": policy.retries.attempts_max,
            "retry_budget_left": self.routes.known.retries.left_at(now),
        })
    }

    /// The deployments of a step, and the name that policies know their group by.
    fn group(&self, name: &str) -> (Vec<Arc<Target>>, String) {
        let rules = &self.routes.rules;
        match rules.group(name) {
            None => (Vec::new(), name.to_owned()),
            Some(group) => (group.targets().to_vec(), group.configured_name().to_owned()),
        }
    }

    /// The budget that leaves a deployment out.
    fn exceeded(&self, target: &Target) -> Option<GatewayError> {
        let (routed, now) = &self.budgets;
        let deployment = &target.deployment;
        let place = (deployment.provider.label(), deployment.id.as_str());
        routed.exceeded(place, &self.request.tags, *now)
    }

    fn decide(&self, group: &str, last_resort: bool) -> Decision {
        let (targets, group) = self.group(group);
        let endpoint = self.question.endpoint;
        let candidates: Vec<Candidate<'_>> = targets
            .iter()
            .map(|target| Candidate {
                facts: &target.facts,
                health: &target.health,
                fits: target.serves(endpoint),
                spent: self.exceeded(target).is_some(),
            })
            .collect();
        let ask = self.request.ask(Turn {
            group: &group,
            tried: &[],
            once: false,
            last_resort,
            waited: Duration::ZERO,
        });
        let moment = Moment {
            policy: self.shape.policy,
            now: self.shape.now,
            wall: self.shape.wall,
        };
        plan::decide(&ask, &candidates, moment, &mut clock::dice)
    }

    /// What the request would meet: the first group that takes it, else the first one's refusal,
    /// which is what its client is told.
    fn outcome(&self, steps: &[Step]) -> Value {
        let takes = |step: &&Step| !matches!(step.decision.plan, Plan::Refuse(_));
        let step = steps.iter().find(takes).or(steps.first());
        step.map_or(Value::Null, |step| {
            let mut out = self.plan(step);
            out["model_group"] = json!(step.group);
            out
        })
    }

    fn step(&self, step: &Step) -> Value {
        let policy = self.shape.policy;
        let (targets, group) = self.group(&step.group);
        let candidates = targets.iter().zip(&step.decision.skips);
        let candidates: Vec<Value> = candidates
            .map(|(target, skip)| self.shape.candidate(&group, target, *skip))
            .collect();
        let mut out = json!({
            "model_group": step.group,
            "last_resort": step.last_resort,
            "strategy": policy.strategy_for(&group).as_str(),
            "allowed_regions": policy.regions.allowed(&group, &self.request.residency),
            "candidates": candidates,
        });
        merge(&mut out, self.plan(step));
        out
    }

    fn plan(&self, step: &Step) -> Value {
        match &step.decision.plan {
            Plan::Send(Choice {
                index, why, others, ..
            }) => {
                let (targets, _) = self.group(&step.group);
                let id = targets.get(*index).map(|target| &target.deployment.id);
                json!({
                    "action": "send", "deployment": id, "why": why.as_str(), "others": others,
                })
            }
            Plan::Wait { until } => {
                let mut out = self.shape.moment(*until);
                out["action"] = json!("wait");
                out
            }
            Plan::Refuse(refusal) => {
                let (targets, _) = self.group(&step.group);
                let ids: Vec<&str> = targets
                    .iter()
                    .map(|one| one.deployment.id.as_str())
                    .collect();
                let spent = targets.iter().find_map(|target| self.exceeded(target));
                let error = refusal.error(&Refused {
                    route: self.question.canonical,
                    model: &self.asked.model,
                    tags: &self.request.tags,
                    prompt_tokens: self.request.prompt_tokens,
                    ids: &ids,
                    spent: spent.as_ref(),
                    now: self.shape.now,
                });
                let reply = error.reply();
                json!({"action": "refuse", "error": {
                    "status": reply.status, "type": reply.kind, "param": reply.param,
                    "message": error.to_string(), "retry_after_s": reply.retry_after_s,
                }})
            }
        }
    }
}
