//! Looks at the server of the workspaces' databases, where the settings name one.

use super::Finding;
use crate::{
    provisioner::{PostgresProvisioner, PostgresSurvey},
    settings::{ProvisionerKind, ProvisionerSettings},
};

const SERVER: &str = "database server";
const RIGHTS: &str = "database rights";
const CONNECTIONS: &str = "database connections";
const ACCESS: &str = "database access";

/// One finding that it can't be used, or one for each thing that was looked at. Takes a few seconds where nobody answers.
pub async fn look(settings: &ProvisionerSettings) -> Vec<Finding> {
    if settings.kind != ProvisionerKind::Postgres {
        return Vec::new();
    }
    let provisioner = match PostgresProvisioner::new(settings.postgres.clone()) {
        Ok(provisioner) => provisioner,
        Err(error) => return vec![Finding::fail(SERVER, error.to_string(), "mend provisioner.postgres")],
    };
    match provisioner.survey().await {
        Ok(survey) => judge(&survey),
        Err(error) => {
            let next = "until it can be used no workspace is made; those that run go on as long as it lets them";
            vec![Finding::fail(SERVER, error.to_string(), next)]
        }
    }
}

fn judge(survey: &PostgresSurvey) -> Vec<Finding> {
    let mut findings = vec![Finding::ok(SERVER, format!("PostgreSQL {} at {}", survey.version, survey.server))];
    findings.push(rights(survey));
    findings.push(connections(survey));
    if !survey.open_to_all.is_empty() {
        findings.push(Finding::warn(
            ACCESS,
            format!("every workspace's role may connect to {}", survey.open_to_all.join(", ")),
            "REVOKE CONNECT ON DATABASE … FROM PUBLIC, for each of them",
        ));
    }
    findings
}

fn rights(survey: &PostgresSurvey) -> Finding {
    let role = &survey.role;
    let missing: Vec<&str> = [(survey.makes_databases, "CREATEDB"), (survey.makes_roles, "CREATEROLE")]
        .into_iter()
        .filter_map(|(has, right)| (!has).then_some(right))
        .collect();
    match (missing.is_empty(), survey.is_superuser) {
        (false, _) => Finding::fail(
            RIGHTS,
            format!("role {role} lacks {}: no workspace can be made", missing.join(" and ")),
            format!("as a superuser: ALTER ROLE {role} {}", missing.join(" ")),
        ),
        (true, true) => Finding::warn(
            RIGHTS,
            format!("role {role} is a superuser: more than orbitd needs"),
            "give orbitd a role of its own with CREATEDB and CREATEROLE (docs/operating.md)",
        ),
        (true, false) => Finding::ok(RIGHTS, format!("role {role} may make databases and roles, and is no superuser")),
    }
}

fn connections(survey: &PostgresSurvey) -> Finding {
    let PostgresSurvey { connections, reserve, one_workspace, in_use, .. } = survey;
    let left = connections.saturating_sub(*reserve);
    let text = format!(
        "{left} of the server's {connections} connections are for workspaces ({reserve} in reserve), {in_use} are open; one \
         workspace may have {one_workspace}"
    );
    let next = "raise max_connections of the server, or lower provisioner.postgres.connection_limit or reserve";
    match left {
        0 => Finding::fail(CONNECTIONS, text, next),
        left if left < *one_workspace => Finding::warn(CONNECTIONS, text, next),
        _ => Finding::ok(CONNECTIONS, text),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    fn survey() -> PostgresSurvey {
        PostgresSurvey {
            server: "db:5432".into(),
            version: "15.8".into(),
            role: "orbitd".into(),
            makes_databases: true,
            makes_roles: true,
            is_superuser: false,
            connections: 97,
            in_use: 4,
            reserve: 15,
            one_workspace: 80,
            open_to_all: Vec::new(),
        }
    }

    #[test]
    fn what_keeps_workspaces_from_their_databases_is_named() {
        let verdicts = |survey: PostgresSurvey| -> Vec<Verdict> {
            let findings = judge(&survey);
            assert!(findings.iter().all(|one| (one.verdict == Verdict::Ok) == one.next.is_none()));
            findings.iter().map(|finding| finding.verdict).collect()
        };
        assert_eq!(verdicts(survey()), [Verdict::Ok; 3]);
        let lacking = PostgresSurvey { makes_roles: false, ..survey() };
        assert!(rights(&lacking).next.is_some_and(|next| next.ends_with("ALTER ROLE orbitd CREATEROLE")));
        assert_eq!(verdicts(lacking)[1], Verdict::Fail);
        assert_eq!(verdicts(PostgresSurvey { is_superuser: true, ..survey() })[1], Verdict::Warn);
        assert_eq!(verdicts(PostgresSurvey { reserve: 40, ..survey() })[2], Verdict::Warn);
        assert_eq!(verdicts(PostgresSurvey { reserve: 97, ..survey() })[2], Verdict::Fail);
        assert_eq!(verdicts(PostgresSurvey { open_to_all: vec!["template1".into()], ..survey() })[3], Verdict::Warn);
    }
}
