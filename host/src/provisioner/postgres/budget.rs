//! Shares out the connections of a workspace, so that PostgreSQL never has to refuse one. Pure.

use crate::settings::PostgresSettings;

/// With one, a transaction that asks on a second connection of its plugin's pool would wait for itself.
const MIN_POOL: u32 = 2;

/// What each plugin of one instance may open, and all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pool {
    pub each: u32,
    pub all: u32,
}

/// The largest pool with which two instances (a rollout's) fit into the workspace's limit.
pub(super) fn pool(plugins: usize, settings: &PostgresSettings) -> Result<Pool, String> {
    let plugins = u32::try_from(plugins.max(1)).unwrap_or(u32::MAX);
    let each = (settings.connection_limit / plugins.saturating_mul(2)).min(settings.max_pool);
    if each < MIN_POOL {
        let needed = plugins.saturating_mul(2 * MIN_POOL);
        return Err(format!(
            "{plugins} plugins with {MIN_POOL} connections each, twice because of rollouts, need {needed}; \
             set provisioner.postgres.connection_limit = {needed} (it is {}) and max_pool to {MIN_POOL} or more (it is {})",
            settings.connection_limit, settings.max_pool
        ));
    }
    Ok(Pool { each, all: each * plugins })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_pool_shrinks_with_the_plugins_and_is_refused_by_name_before_it_is_too_small() {
        let settings = PostgresSettings::default();
        assert_eq!(pool(5, &settings), Ok(Pool { each: 3, all: 15 }));
        assert_eq!(pool(20, &settings), Ok(Pool { each: 2, all: 40 }));
        let error = pool(21, &settings).expect_err("too many");
        assert!(error.contains("connection_limit = 84"), "{error}");
    }

    proptest! {
        #[test]
        fn two_instances_always_fit(plugins in 0_usize..500, connection_limit in 0_u32..10_000, max_pool in 0_u32..50) {
            let settings = PostgresSettings { connection_limit, max_pool, ..PostgresSettings::default() };
            if let Ok(pool) = pool(plugins, &settings) {
                prop_assert!(2 * pool.all <= connection_limit && pool.each <= max_pool && pool.each >= MIN_POOL);
            }
        }
    }
}
