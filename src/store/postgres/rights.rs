//! Numbers of nodes, and books of periods.

use meridian_core::escrow::{Actor, Book, BookEntry, Pid, Rights, ScopeId};
use meridian_core::time::WallMs;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Postgres;
use super::work::{Access, Param, Work};
use crate::store::StoreError;
use crate::store::rights::Neighbour;

/// Tries for a number that another node takes at the same moment.
const TRIES: usize = 16;
/// Books that are read at once.
const BOOKS_MAX: i64 = 100_000;
/// Nodes that are told of at once: more than this fit into no frame.
const NODES_MAX: usize = 5_000;

const COLUMNS: &str = "scope, period, generation, amount, base, actor";

impl Postgres {
    pub(crate) async fn node_number(&self, journal: &str) -> Result<u16, StoreError> {
        for _ in 0..TRIES {
            let work = self.work(Access::Write).await?;
            let number = take_number(&work, journal).await;
            if let Some(number) = work.finish(number).await? {
                let bad = |_| StoreError::Postgres(format!("node number {number} is too large"));
                return u16::try_from(number).map_err(bad);
            }
        }
        Err(StoreError::Busy)
    }

    pub(crate) async fn greet(
        &self,
        number: u16,
        address: Option<&str>,
    ) -> Result<Vec<Neighbour>, StoreError> {
        let number = i32::from(number);
        let work = self.work(Access::Write).await?;
        let sql = "WITH me AS (UPDATE meridian.node SET seen_at = now(), address = $2 \
                WHERE number = $1) \
            SELECT number, address FROM meridian.node WHERE number <> $1 \
                AND address IS NOT NULL AND seen_at > now() - interval '15 seconds'";
        let params: [Param<'_>; 2] = [(&number, Type::INT4), (&address, Type::TEXT)];
        let rows = work.rows(sql, &params).await;
        let rows = work.finish(rows).await?;
        let neighbour = |row: &Row| {
            Some(Neighbour {
                number: u16::try_from(row.get::<_, i32>(0)).ok()?,
                address: row.get(1),
            })
        };
        Ok(rows.iter().filter_map(neighbour).collect())
    }

    pub(crate) async fn nodes(&self) -> Result<Option<Vec<(u16, WallMs)>>, StoreError> {
        let work = self.work(Access::Walk).await?;
        let sql = "SELECT number, (extract(epoch FROM seen_at) * 1000)::bigint \
            FROM meridian.node ORDER BY number LIMIT $1";
        let most = i64::try_from(NODES_MAX + 1).unwrap_or(i64::MAX);
        let rows = work.rows(sql, &[(&most, Type::INT8)]).await;
        let rows = work.finish(rows).await?;
        let node = |row: &Row| {
            let number = u16::try_from(row.get::<_, i32>(0)).ok()?;
            Some((number, WallMs(row.get(1))))
        };
        let few = rows.len() <= NODES_MAX;
        Ok(few.then(|| rows.iter().filter_map(node).collect()))
    }

    pub(crate) async fn book_began(&self, pid: Pid) -> Result<Option<WallMs>, StoreError> {
        let scope = pid.scope.to_string();
        let generation = whole(pid.generation)?;
        let work = self.work(Access::Read).await?;
        let sql = "SELECT (extract(epoch FROM made_at) * 1000)::bigint \
            FROM meridian.budget_entry \
            WHERE scope = $1 AND period = $2 AND generation = $3 AND number = 0";
        let params: [Param<'_>; 3] = [
            (&scope, Type::TEXT),
            (&pid.index, Type::INT8),
            (&generation, Type::INT4),
        ];
        let row = work.row(sql, &params).await;
        Ok(work.finish(row).await?.map(|row| WallMs(row.get(0))))
    }

    pub(crate) async fn book(
        &self,
        scope: ScopeId,
        period: i64,
    ) -> Result<Option<Book>, StoreError> {
        let scope = scope.to_string();
        let work = self.work(Access::Read).await?;
        let sql = format!(
            "SELECT {COLUMNS} FROM meridian.budget_entry b WHERE scope = $1 AND period = $2 \
             AND generation = (SELECT max(generation) FROM meridian.budget_entry \
                WHERE scope = $1 AND period = $2) ORDER BY number"
        );
        let params: [Param<'_>; 2] = [(&scope, Type::TEXT), (&period, Type::INT8)];
        let rows = work.rows(&sql, &params).await;
        let rows = work.finish(rows).await?;
        Ok(books(&rows)?.pop())
    }

    pub(crate) async fn add_entry(
        &self,
        pid: Pid,
        number: u32,
        entry: BookEntry,
        base: Rights,
    ) -> Result<bool, StoreError> {
        let (scope, actor) = (pid.scope.to_string(), entry.by.to_string());
        let (generation, number) = (whole(pid.generation)?, whole(number)?);
        let work = self.work(Access::Write).await?;
        let sql = "INSERT INTO meridian.budget_entry \
            (scope, period, generation, number, amount, base, actor) \
            VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
        let params: [Param<'_>; 7] = [
            (&scope, Type::TEXT),
            (&pid.index, Type::INT8),
            (&generation, Type::INT4),
            (&number, Type::INT4),
            (&entry.amount, Type::INT8),
            (&base, Type::INT8),
            (&actor, Type::TEXT),
        ];
        let added = work.change(sql, &params).await;
        Ok(work.finish(added).await? == 1)
    }

    pub(crate) async fn books_of(
        &self,
        actor: Actor,
        after: WallMs,
    ) -> Result<Vec<Book>, StoreError> {
        let actor = actor.to_string();
        let work = self.work(Access::Walk).await?;
        let sql = format!(
            "SELECT {COLUMNS} FROM meridian.budget_entry WHERE (scope, period, generation) IN \
             (SELECT scope, period, generation FROM meridian.budget_entry \
                WHERE actor = $1 AND period > $2) \
             ORDER BY scope, period, generation, number LIMIT {BOOKS_MAX}"
        );
        let params: [Param<'_>; 2] = [(&actor, Type::TEXT), (&after.0, Type::INT8)];
        let rows = work.rows(&sql, &params).await;
        books(&work.finish(rows).await?)
    }
}

/// The number of a journal; `None` when another node took the same at this moment.
async fn take_number(work: &Work, journal: &str) -> Result<Option<i32>, StoreError> {
    let of_journal: [Param<'_>; 1] = [(&journal, Type::TEXT)];
    let sql = "SELECT number FROM meridian.node WHERE journal = $1";
    if let Some(row) = work.row(sql, &of_journal).await? {
        return Ok(Some(row.get(0)));
    }
    let sql = "INSERT INTO meridian.node (number, journal) \
        SELECT coalesce(max(number), 0) + 1, $1 FROM meridian.node \
        ON CONFLICT DO NOTHING RETURNING number";
    Ok(work.row(sql, &of_journal).await?.map(|row| row.get(0)))
}

/// Rows in the order of their numbers, as books.
fn books(rows: &[Row]) -> Result<Vec<Book>, StoreError> {
    let bad = |what: &str| StoreError::Postgres(format!("budget_entry has a bad {what}"));
    let mut books: Vec<Book> = Vec::new();
    for row in rows {
        let scope: &str = row.get(0);
        let generation: i32 = row.get(2);
        let actor: &str = row.get(5);
        let pid = Pid {
            scope: ScopeId::parse(scope).ok_or_else(|| bad("scope"))?,
            index: row.get(1),
            generation: u32::try_from(generation).map_err(|_| bad("generation"))?,
        };
        let entry = BookEntry {
            amount: row.get(3),
            by: actor.parse().map_err(|_| bad("actor"))?,
        };
        match books.last_mut().filter(|book| book.pid == pid) {
            Some(book) => book.entries.push(entry),
            None => books.push(Book {
                pid,
                base: row.get(4),
                entries: vec![entry],
            }),
        }
    }
    Ok(books)
}

fn whole(number: u32) -> Result<i32, StoreError> {
    i32::try_from(number).map_err(|_| StoreError::Postgres("a number is too large".to_owned()))
}
