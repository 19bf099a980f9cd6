//! Statements run on [`Sessions`] as they would on sqlx's pool.

use futures_util::{StreamExt as _, TryStreamExt as _, future::BoxFuture, stream, stream::BoxStream};
use sqlx::{
    Any, AnyConnection, Either, Execute, Executor,
    any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
};

use super::Sessions;

impl<'s> Executor<'s> for &'s Sessions {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, sqlx::Error>>
    where
        's: 'e,
        E: 'q + Execute<'q, Any>,
    {
        // All at once: a session that is lent to a reader of rows would be lent for as long as the reader likes.
        let all = self.run(async move |connection: &mut AnyConnection| {
            connection.fetch_many(query).try_collect::<Vec<_>>().await
        });
        stream::once(all).map_ok(|rows| stream::iter(rows.into_iter().map(Ok))).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, sqlx::Error>>
    where
        's: 'e,
        E: 'q + Execute<'q, Any>,
    {
        Box::pin(self.run(async move |connection: &mut AnyConnection| connection.fetch_optional(query).await))
    }

    fn prepare_with<'e>(
        self,
        sql: sqlx::SqlStr,
        parameters: &'e [AnyTypeInfo],
    ) -> BoxFuture<'e, Result<AnyStatement, sqlx::Error>>
    where
        's: 'e,
    {
        Box::pin(self.run(async move |connection: &mut AnyConnection| connection.prepare_with(sql, parameters).await))
    }

    fn describe<'e>(self, sql: sqlx::SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Any>, sqlx::Error>>
    where
        's: 'e,
    {
        Box::pin(self.run(async move |connection: &mut AnyConnection| connection.describe(sql).await))
    }
}
