//! What `backend.database` of an instance says.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sqlx::postgres::PgSslMode;

use super::{budget::Pool, names::Names, server::Address};
use crate::{model::Login, provisioner::Access};

/// The secret's name; no workspace can declare one with lower case letters.
const PASSWORD: &str = "database-password";
/// Milliseconds after which an idle connection is closed: a quiet workspace needs three.
const IDLE_TIMEOUT_MS: u32 = 10_000;

pub(super) fn access(address: &Address, names: &Names, login: &Login, pool: Pool) -> Access {
    let mut connection = json!({
        "host": address.host,
        "port": address.port,
        "user": names.login(login.slot).as_str(),
        "password": {"$secret": PASSWORD},
        "database": names.database.as_str(),
    });
    if let Some(ssl) = ssl(address) {
        connection["ssl"] = ssl;
    }
    let config = json!({
        "client": "pg",
        "pluginDivisionMode": "schema",
        // The role may make schemas in its database, but no databases.
        "ensureExists": false,
        "ensureSchemaExists": true,
        "knexConfig": {"pool": {"min": 0, "max": pool.each, "idleTimeoutMillis": IDLE_TIMEOUT_MS}},
        "connection": connection,
    });
    let secrets = BTreeMap::from([(PASSWORD.to_owned(), login.password.clone().into_bytes())]);
    Access { config, secrets, connections: pool.all }
}

/// libpq's sslmode in the words of Node's driver, which has no "prefer".
fn ssl(address: &Address) -> Option<Value> {
    let mut ssl = match address.ssl_mode {
        PgSslMode::VerifyFull => json!({"rejectUnauthorized": true}),
        PgSslMode::VerifyCa => json!({"rejectUnauthorized": true, "checkServerIdentity": false}),
        PgSslMode::Require => json!({"rejectUnauthorized": false}),
        PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer => return None,
    };
    if let Some(authority) = &address.authority {
        ssl["ca"] = json!(authority);
    }
    Some(ssl)
}
