//! What a log must not hold: credentials, and what the operator names.
//!
//! Masked by default, whatever the operator says: headers, claims and query parameters whose name speaks of a credential, and values
//! that look like one. A masked input is left out and its name is listed, so that nobody takes a placeholder for a value; where its text
//! stands in the answer (a reason, a user), it is replaced there.

use serde_json::{Map, Value};

use super::{Decision, Seen};
use crate::policy::view::OwnedView;

/// Names that hold one of these are of credentials.
const NAMES: [&str; 18] = [
    "authorization",
    "cookie",
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "api-key",
    "apikey",
    "access-key",
    "private-key",
    "credential",
    "session",
    "signature",
    "jwt",
    "csrf",
    "xsrf",
    "assertion",
];
/// Values that start so are credentials.
const PREFIXES: [&str; 13] = [
    "bearer ",
    "basic ",
    "digest ",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "akia",
    "sk-",
    "npm_",
];
/// What stands in a text where a masked value was.
const MASK: &str = "***";
/// Listed among the masked where a part of the decision is.
pub(in crate::policy) const DECISION: &str = "decision";
/// A masked value that is shorter is not looked for in sentences: it would be found everywhere.
const MIN_LOOKED_FOR: usize = 6;

/// The rules of one daemon.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::policy) struct Masks {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq)]
enum Rule {
    Path,
    Query,
    /// Lower case; the flag says that more may follow.
    Header(String, bool),
    Claim(String, bool),
}

impl Masks {
    /// The defaults and these: `path`, `query`, `header:<name>`, `claim:<name>`; a `*` at the end stands for anything.
    pub fn new(rules: &[String]) -> Result<Self, String> {
        let parse = |text: &String| {
            let (name, open) = text.strip_suffix('*').map_or((text.as_str(), false), |name| (name, true));
            match name.split_once(':') {
                None if text == "path" => Ok(Rule::Path),
                None if text == "query" => Ok(Rule::Query),
                Some(("header", name)) if open || !name.is_empty() => Ok(Rule::Header(name.to_lowercase(), open)),
                Some(("claim", name)) if open || !name.is_empty() => Ok(Rule::Claim(name.to_owned(), open)),
                _ => Err(format!(
                    "decision_log.mask has {text:?}: a rule is path, query, header:<name> or claim:<name>, and a name may end in *"
                )),
            }
        };
        Ok(Self { rules: rules.iter().map(parse).collect::<Result<_, _>>()? })
    }

    /// What may be shown of what a policy saw, the names of what is left out, and the decision without it.
    pub fn apply(&self, view: OwnedView, decision: &mut Decision) -> (Seen, Vec<String>) {
        let mut hidden = Hidden::default();
        let mut seen = Seen { method: view.method, plugin: view.plugin, ..Seen::default() };
        if self.rules.contains(&Rule::Path) || view.path.split('/').any(is_credential) {
            view.path.split('/').filter(|segment| is_credential(segment)).for_each(|one| hidden.add("path", one));
            hidden.add("path", &view.path);
        } else {
            seen.path = view.path;
        }
        if self.rules.contains(&Rule::Query) {
            hidden.add("query", &view.query);
        } else {
            seen.query = query(&view.query, &mut hidden);
        }
        for (name, value) in view.headers {
            if names_credential(&name) || is_credential(&value) || self.names(Rule::header, &name) {
                hidden.add(&format!("header:{name}"), &value);
            } else {
                seen.headers.push((name, value));
            }
        }
        let mut claims = Map::new();
        for (name, text) in view.claims {
            let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
            if names_credential(&name) || holds_credential(&value) || self.names(Rule::claim, &name) {
                hidden.add_all(&format!("claim:{name}"), &value);
            } else {
                claims.insert(name, value);
            }
        }
        seen.claims = claims;
        let mut scrubbed = false;
        for text in decision.texts_mut() {
            scrubbed |= hidden.scrub(text);
        }
        if scrubbed {
            hidden.add(DECISION, "");
        }
        (seen, hidden.names)
    }

    fn names(&self, rule: impl Fn(&Rule) -> Option<(&str, bool)>, name: &str) -> bool {
        let matches = |(pattern, open): (&str, bool)| if open { name.starts_with(pattern) } else { name == pattern };
        self.rules.iter().filter_map(rule).any(matches)
    }
}

impl Rule {
    fn header(&self) -> Option<(&str, bool)> {
        match self {
            Self::Header(name, open) => Some((name, *open)),
            _ => None,
        }
    }
    fn claim(&self) -> Option<(&str, bool)> {
        match self {
            Self::Claim(name, open) => Some((name, *open)),
            _ => None,
        }
    }
}

/// What was left out.
#[derive(Default)]
struct Hidden {
    names: Vec<String>,
    values: Vec<String>,
}

impl Hidden {
    fn add(&mut self, name: &str, value: &str) {
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
        if value.len() >= MIN_LOOKED_FOR {
            self.values.push(value.to_owned());
        }
    }
    fn add_all(&mut self, name: &str, value: &Value) {
        match value {
            Value::String(text) => self.add(name, text),
            Value::Array(items) => items.iter().for_each(|item| self.add_all(name, item)),
            Value::Object(map) => map.values().for_each(|item| self.add_all(name, item)),
            other => self.add(name, &other.to_string()),
        }
        self.add(name, "");
    }
    /// Whether there was something to hide.
    fn scrub(&self, text: &mut String) -> bool {
        let mut scrubbed = false;
        for value in &self.values {
            if text.contains(value.as_str()) {
                *text = text.replace(value.as_str(), MASK);
                scrubbed = true;
            }
        }
        scrubbed
    }
}

/// A query with the values of its secret parameters masked.
fn query(query: &str, hidden: &mut Hidden) -> String {
    let show = |parameter: &str, hidden: &mut Hidden| match parameter.split_once('=') {
        Some((name, value)) if names_credential(name) || name == "code" || is_credential(value) => {
            hidden.add("query", value);
            format!("{name}={MASK}")
        }
        _ => parameter.to_owned(),
    };
    query.split('&').map(|parameter| show(parameter, hidden)).collect::<Vec<_>>().join("&")
}

fn names_credential(name: &str) -> bool {
    let name = name.to_lowercase().replace('_', "-");
    NAMES.iter().any(|part| name.contains(part))
}

/// A value that looks like a credential: by its start, or three parts of which the first is a JSON object in base64 (a JWT).
fn is_credential(value: &str) -> bool {
    let start = value.trim_start().get(..16).unwrap_or(value.trim_start()).to_lowercase();
    PREFIXES.iter().any(|prefix| start.starts_with(prefix))
        || value.contains("-----BEGIN ")
        || value.match_indices("eyJ").any(|(at, _)| {
            let token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '=');
            let run: &str = value[at..].split(|c| !token(c)).next().unwrap_or_default();
            run.matches('.').count() >= 2 && run.len() > 30
        })
}

fn holds_credential(value: &Value) -> bool {
    match value {
        Value::String(text) => is_credential(text),
        Value::Array(items) => items.iter().any(holds_credential),
        Value::Object(map) => map.iter().any(|(name, value)| names_credential(name) || holds_credential(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "canary-5f1c9e";
    const JWT: &str = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl";

    fn text(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }
    fn masked(masks: &Masks, view: OwnedView) -> (String, Vec<String>) {
        let mut decision = Decision::Deny { status: 403, reason: format!("not with {SECRET}, {JWT}") };
        let (seen, names) = masks.apply(view, &mut decision);
        (serde_json::to_string(&(seen, decision)).expect("JSON"), names)
    }

    #[test]
    fn credentials_are_left_out_by_name_and_by_look() {
        let view = OwnedView {
            path: format!("/api/x/{JWT}"),
            query: format!("q=1&access_token={SECRET}&code={SECRET}"),
            headers: text(&[
                ("authorization", SECRET),
                ("cookie", SECRET),
                ("x-auth-token", SECRET),
                ("x-api-key", SECRET),
                ("x-forwarded-thing", JWT),
                ("x-door", "open"),
            ]),
            claims: text(&[
                ("sub", "\"alice\""),
                ("refresh_token", &format!("\"{SECRET}\"")),
                ("deep", &format!("{{\"a\": [{{\"password\": \"{SECRET}\"}}]}}")),
            ]),
            ..OwnedView::default()
        };
        let (text, names) = masked(&Masks::default(), view);
        assert!(!text.contains(SECRET) && !text.contains(JWT), "{text}");
        assert!(text.contains("q=1&access_token=***") && text.contains("open") && text.contains("alice"), "{text}");
        let expected = [
            "path",
            "query",
            "header:authorization",
            "header:cookie",
            "header:x-auth-token",
            "header:x-api-key",
            "header:x-forwarded-thing",
            "claim:refresh_token",
            "claim:deep",
            "decision",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn an_answer_does_not_give_a_masked_claim_away() {
        let claims = text(&[("session_token", &format!("\"{SECRET}\""))]);
        let mut decision = Decision::Allow {
            user: format!("user:default/{SECRET}"),
            ownership: vec![format!("user:default/{SECRET}")],
        };
        let (_, names) = Masks::default().apply(OwnedView { claims, ..OwnedView::default() }, &mut decision);
        let user = "user:default/***".to_owned();
        assert_eq!(decision, Decision::Allow { user: user.clone(), ownership: vec![user] });
        assert_eq!(names, ["claim:session_token", DECISION]);
    }

    #[test]
    fn an_operator_s_rules_come_on_top() {
        let rules = ["claim:email", "header:x-internal-*", "path"].map(str::to_owned);
        let view = OwnedView {
            path: "/people/alice".into(),
            headers: text(&[("x-internal-user", "canary-1"), ("x-internal", "seen")]),
            claims: text(&[("email", "\"canary-2\"")]),
            ..OwnedView::default()
        };
        let (text, names) = masked(&Masks::new(&rules).expect("rules"), view);
        assert!(!text.contains("canary-1") && !text.contains("canary-2") && !text.contains("people"), "{text}");
        assert_eq!(names, ["path", "header:x-internal-user", "claim:email"]);
        for bad in ["headers:x", "claim:", "*", "body"] {
            assert!(Masks::new(&[bad.to_owned()]).expect_err("no rule").contains(bad), "{bad}");
        }
    }
}
