//! One role of a tier (its router, one of its authorizers, its renderer): the version that serves it and, while one is rolled out, the
//! next one beside it.

use std::{sync::Arc, time::Instant};

use orbit_engine::{Authorizer, CallError, CallErrorKind, Inputs, Renderer, Router, Turn};
use prometheus_client::metrics::counter::Counter;

use super::{
    Authorization, FailureKind, PolicyFailure, Rendered, Routing, answer,
    decision_log::Decision,
    remembered::{Key, Remembered},
    rollout::{Audience, Breaker, Budget, Mode, Shadow, Trial, Verdict},
    status::PolicyInfo,
    view::View,
};

/// A role.
pub(super) struct Role<P: Decides> {
    pub active: Arc<Bound<P>>,
    pub next: Option<Next<P>>,
    /// What was decided over the tier's file, and what is held back.
    pub verdict: Verdict,
    /// What a new version may fail here.
    pub budget: Budget,
}

/// A version that is rolled out.
pub(super) struct Next<P: Decides> {
    pub bound: Arc<Bound<P>>,
    pub mode: Mode,
    pub audience: Audience,
    /// Of a shadow.
    pub shadow: Arc<Shadow>,
}

/// A policy in its place.
pub(super) struct Bound<P: Decides> {
    pub policy: Arc<Loaded<P>>,
    pub info: Arc<PolicyInfo>,
    /// As declared, for the log.
    pub inputs: Arc<[String]>,
    pub health: Arc<Health>,
}

/// How it does in this tier. It goes on from set to set while version and role stay the same.
pub(super) struct Health {
    pub breaker: Breaker,
    /// Of a new version.
    pub trial: Option<Trial>,
    /// Answered, failed: of a new version.
    pub counters: [Counter; 2],
    pub openings: Counter,
}

/// A loaded policy and what it already answered.
pub(super) struct Loaded<P: Decides> {
    pub policy: P,
    /// None where the binding turns it off.
    pub remembered: Option<Remembered<P::Answer>>,
}

/// What a policy answers with.
pub(super) trait Decides {
    type Answer: Clone + PartialEq + Send + Sync + 'static;
    fn decision(answer: &Self::Answer) -> Decision;
}

/// A policy that is asked for each request.
pub(super) trait PerRequest: Decides + Sync {
    fn inputs(&self) -> &Inputs;
    /// A place among the tier's sandboxes; see [`orbit_engine::Router`].
    fn turn(&self) -> impl Future<Output = Result<Turn<'_>, CallError>> + Send;
    /// For requests.
    fn ask_in(&self, turn: Turn<'_>, view: &View<'_>) -> Result<Self::Answer, Failed>;
    /// For work in the background and tools: behind all requests of its tier.
    fn ask(&self, view: &View<'_>) -> Result<Self::Answer, Failed>;
}

/// No answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failed {
    pub kind: FailureKind,
    pub message: String,
}

/// An answer, and whether it is an old one.
pub(super) struct Decided<A> {
    pub answer: Result<A, Failed>,
    pub remembered: bool,
}

// === impl Role ===

impl<P: Decides> Role<P> {
    /// Who decides for a workspace, and as what the log calls it.
    pub fn pick(&self, tier: &str, workspace: &str) -> (&Arc<Bound<P>>, &'static str) {
        match &self.next {
            Some(next) if next.mode == Mode::Canary && next.runs() && next.audience.holds(tier, workspace) => {
                (&next.bound, "canary")
            }
            _ => (&self.active, "active"),
        }
    }

    /// The version in the shadow, if it is to see this workspace's requests.
    pub fn shadow(&self, tier: &str, workspace: &str) -> Option<&Next<P>> {
        let next = self.next.as_ref()?;
        (next.mode == Mode::Shadow && next.runs() && next.audience.holds(tier, workspace)).then_some(next)
    }

    /// Whether it would decide the same in the same way.
    pub fn is_like(&self, other: &Self) -> bool {
        let next = match (&self.next, &other.next) {
            (None, None) => true,
            (Some(a), Some(b)) => a.mode == b.mode && a.audience == b.audience && a.bound.is_like(&b.bound),
            _ => false,
        };
        next && self.verdict == other.verdict && self.budget == other.budget && self.active.is_like(&other.active)
    }
}

impl<P: Decides> Clone for Next<P> {
    fn clone(&self) -> Self {
        let Self { bound, mode, audience, shadow } = self;
        Self { bound: bound.clone(), mode: *mode, audience: audience.clone(), shadow: shadow.clone() }
    }
}

impl<P: Decides> Next<P> {
    /// Its error budget is not spent.
    fn runs(&self) -> bool {
        !self.bound.health.trial.as_ref().is_some_and(Trial::is_over)
    }
}

// === impl Bound ===

impl<P: Decides> Bound<P> {
    fn is_like(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.policy, &other.policy) && self.info.module == other.info.module
    }

    pub fn failure(&self, failed: Failed) -> PolicyFailure {
        PolicyFailure {
            policy: self.info.policy.clone(),
            digest: Some(self.info.digest),
            kind: failed.kind,
            message: failed.message,
        }
    }

    /// Runs `ask`, unless the breaker is open; and counts.
    pub fn guarded<A>(&self, workspace: &str, ask: impl FnOnce() -> Result<A, Failed>) -> Result<A, Failed> {
        self.admitted()?;
        let now = Instant::now();
        self.counted(now, workspace, ask())
    }

    /// Whether it may be asked.
    fn admitted(&self) -> Result<(), Failed> {
        if self.health.breaker.admits(Instant::now()) {
            return Ok(());
        }
        let message = "its breaker is open: most of its last decisions failed".to_owned();
        Err(Failed { kind: FailureKind::Unavailable, message })
    }

    /// Counts what became of a call that began at `now`.
    fn counted<A>(&self, now: Instant, workspace: &str, answer: Result<A, Failed>) -> Result<A, Failed> {
        let breaker = &self.health.breaker;
        match &answer {
            Ok(_) => {
                if breaker.is_troubled() {
                    breaker.answered(now, bit_of(workspace));
                }
            }
            // That no sandbox was free says nothing of the policy.
            Err(failed) if failed.kind == FailureKind::Unavailable => {}
            Err(failed) => {
                if breaker.failed(now, bit_of(workspace)) {
                    self.health.openings.inc();
                    tracing::warn!(
                        policy = self.info.policy, digest = %self.info.digest, binding = self.info.binding,
                        kind = failed.kind.as_str(), reason = failed.message,
                        "most decisions of a policy fail: it is not asked for a few seconds, its requests are answered 503"
                    );
                }
            }
        }
        self.health.tried(now, answer.as_ref().err().map(|failed| failed.kind));
        answer
    }
}

impl<P: PerRequest> Bound<P> {
    /// The remembered answer, or the one that the policy gives when it is this request's turn. Failures are not remembered.
    pub async fn decide(&self, view: &View<'_>) -> Decided<P::Answer> {
        let key = match self.recall(view) {
            Ok(answer) => return answer,
            Err(key) => key,
        };
        let answer = match self.admitted() {
            Ok(()) => match self.policy.policy.turn().await {
                Ok(turn) => {
                    let now = Instant::now();
                    self.counted(now, view.workspace, self.policy.policy.ask_in(turn, view))
                }
                Err(none) => self.counted(Instant::now(), view.workspace, Err(none.into())),
            },
            Err(cut_off) => Err(cut_off),
        };
        self.keep(key, answer)
    }

    /// The same on a thread that may block, behind all requests.
    pub fn decide_in_background(&self, view: &View<'_>) -> Decided<P::Answer> {
        match self.recall(view) {
            Ok(answer) => answer,
            Err(key) => self.keep(key, self.guarded(view.workspace, || self.policy.policy.ask(view))),
        }
    }

    /// What it answered before; else the key to remember the answer by, if it is to be.
    fn recall(&self, view: &View<'_>) -> Result<Decided<P::Answer>, Option<Key>> {
        let Some(memory) = &self.policy.remembered else { return Err(None) };
        let key = view.key();
        let answer = memory.recall(&key).ok_or(Some(key))?;
        self.health.recalled(view.workspace);
        Ok(Decided { answer: Ok(answer), remembered: true })
    }

    fn keep(&self, key: Option<Key>, answer: Result<P::Answer, Failed>) -> Decided<P::Answer> {
        if let (Some(memory), Some(key), Ok(answer)) = (&self.policy.remembered, key, &answer) {
            memory.keep(key, answer.clone());
        }
        Decided { answer, remembered: false }
    }
}

// === impl Health ===

impl Health {
    /// An answer came from memory: counted only where somebody looks.
    fn recalled(&self, workspace: &str) {
        let troubled = self.breaker.is_troubled();
        if troubled || self.trial.is_some() {
            let now = Instant::now();
            if troubled {
                self.breaker.remembered(now, bit_of(workspace));
            }
            self.tried(now, None);
        }
    }

    fn tried(&self, now: Instant, failed: Option<FailureKind>) {
        if let Some(trial) = &self.trial {
            trial.decided(now, failed);
            self.counters[usize::from(failed.is_some())].inc();
        }
    }
}

/// One of 64, for counting workspaces about. Only asked for where something failed lately.
fn bit_of(workspace: &str) -> u32 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    workspace.hash(&mut hasher);
    (hasher.finish() % 64) as u32
}

// === worlds ===

impl Decides for Router {
    type Answer = Routing;
    fn decision(answer: &Routing) -> Decision {
        answer.into()
    }
}
impl PerRequest for Router {
    fn inputs(&self) -> &Inputs {
        Router::inputs(self)
    }
    fn turn(&self) -> impl Future<Output = Result<Turn<'_>, CallError>> + Send {
        Router::turn(self)
    }
    fn ask_in(&self, turn: Turn<'_>, view: &View<'_>) -> Result<Routing, Failed> {
        let decision = view.ask_router(|asked| self.route_in(turn, asked))?;
        answer::routing(decision).map_err(Failed::contract)
    }
    fn ask(&self, view: &View<'_>) -> Result<Routing, Failed> {
        let decision = view.ask_router(|asked| self.route(asked))?;
        answer::routing(decision).map_err(Failed::contract)
    }
}

impl Decides for Authorizer {
    type Answer = Authorization;
    fn decision(answer: &Authorization) -> Decision {
        answer.into()
    }
}
impl PerRequest for Authorizer {
    fn inputs(&self) -> &Inputs {
        Authorizer::inputs(self)
    }
    fn turn(&self) -> impl Future<Output = Result<Turn<'_>, CallError>> + Send {
        Authorizer::turn(self)
    }
    fn ask_in(&self, turn: Turn<'_>, view: &View<'_>) -> Result<Authorization, Failed> {
        let decision = view.ask_authorizer(|asked| self.authorize_in(turn, asked))?;
        answer::authorization(decision).map_err(Failed::contract)
    }
    fn ask(&self, view: &View<'_>) -> Result<Authorization, Failed> {
        let decision = view.ask_authorizer(|asked| self.authorize(asked))?;
        answer::authorization(decision).map_err(Failed::contract)
    }
}

/// PerRequest too rarely to remember anything.
impl Decides for Renderer {
    type Answer = Rendered;
    fn decision(answer: &Rendered) -> Decision {
        answer.into()
    }
}

// === impl Failed ===

impl Failed {
    /// The answer breaks the contract.
    pub fn contract(message: String) -> Self {
        Self { kind: FailureKind::Contract, message }
    }

    /// As the log has it.
    pub fn decision(&self) -> Decision {
        Decision::Fail { kind: self.kind, reason: self.message.clone() }
    }
}

impl From<CallError> for Failed {
    fn from(error: CallError) -> Self {
        let kind = match error.kind {
            CallErrorKind::Error => FailureKind::Error,
            CallErrorKind::Trap => FailureKind::Trap,
            CallErrorKind::Timeout => FailureKind::Timeout,
            CallErrorKind::Memory => FailureKind::Memory,
            CallErrorKind::Contract => FailureKind::Contract,
            CallErrorKind::Unavailable => FailureKind::Unavailable,
        };
        Self { kind, message: error.message }
    }
}
