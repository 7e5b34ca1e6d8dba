//! Refreshes collections into tables in memory, by the rules of the writer: newer versions win, what a complete reading
//! lacks is gone.

use super::Simulator;
use crate::error::{Reach, SyncError};
use crate::extract::batch::{Batch, Cell};
use crate::extract::group::group;
use crate::extract::sink::{Channel, Event, Sink};
use crate::extract::{Described, Mode, OutColumn, Output, Page, ReadEnd, ReadRequest, Target};
use crate::http::testing::{policy, Tokens};
use crate::http::{oauth, AccessToken, Account, ApiClient, ClientPool, Stats, TokenSource};
use crate::manifest::{Column, Deletes, Format, Shape, Source};
use crate::secret::Secret;
use futures_util::future::BoxFuture;
use serde_json::{json, Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// One row as it is stored. Instants are microseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    pub cells: Vec<Value>,
    pub version: Option<i64>,
    pub is_deleted: bool,
}

/// A local table: rows by their key, its parts joined by ":".
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub rows: BTreeMap<String, Row>,
    seen: BTreeSet<String>,
}

impl Table {
    /// Keys of rows that are there, or of those marked as deleted.
    pub fn keys(&self, deleted: bool) -> BTreeSet<String> {
        self.rows.iter().filter(|(_, row)| row.is_deleted == deleted).map(|(key, _)| key.clone()).collect()
    }
}

/// A server of one app, with its tables and checkpoints.
pub struct Reader {
    pub source: Source,
    pub tables: BTreeMap<String, Table>,
    pub checkpoints: BTreeMap<String, Value>,
    /// Where the last reading could be taken up again.
    pub position: Option<Value>,
    /// The access token that the app gave, for who asks the app itself.
    token: Option<Arc<Mutex<Option<AccessToken>>>>,
    /// What the last refresh had to tell.
    pub notes: Vec<String>,
    options: BTreeMap<String, String>,
    credentials: BTreeMap<String, Secret>,
    /// A session of an app whose calls go with an access token.
    pub session: Option<AccessToken>,
    /// What the app says of its collections' fields, where it was asked.
    pub described: BTreeMap<String, Described>,
    /// Fields that records had and no description names.
    pub unknown: BTreeMap<String, BTreeSet<String>>,
}

/// Asks the app itself for access tokens, and keeps the last one as a server does.
struct Exchange {
    account: Account,
    held: Arc<Mutex<Option<AccessToken>>>,
}

impl TokenSource for Exchange {
    fn renew(&self, stale: Option<AccessToken>) -> BoxFuture<'static, Result<AccessToken, SyncError>> {
        let (account, held) = (self.account.clone(), Arc::clone(&self.held));
        Box::pin(async move {
            let known = held.lock().unwrap().clone();
            let is_stale =
                |token: &AccessToken| stale.as_ref().is_some_and(|s| s.token.expose() == token.token.expose());
            if let Some(token) = known.filter(|token| !is_stale(token)) {
                return Ok(token);
            }
            let token = oauth::exchange(&account, &ClientPool::new(), &Stats::default()).await?;
            *held.lock().unwrap() = Some(token.clone());
            Ok(token)
        })
    }
}

fn target(type_name: &str) -> Target {
    match type_name {
        "bigint" => Target::Int8,
        "integer" => Target::Int4,
        "numeric" => Target::Numeric,
        "double precision" => Target::Float8,
        "boolean" => Target::Bool,
        "timestamptz" => Target::Timestamptz,
        "date" => Target::Date,
        "jsonb" => Target::Json,
        _ => Target::Text,
    }
}

pub(super) fn value_of(batch: &Batch, cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Bool(yes) => json!(yes),
        Cell::Int(number) => json!(number),
        Cell::Float(number) => json!(number),
        Cell::Timestamp(micros) => json!(micros),
        Cell::Date(days) => json!(days),
        Cell::Text(_) => json!(batch.text(cell)),
        Cell::Number(_) | Cell::Json(_) => serde_json::from_str(&batch.text(cell)).unwrap(),
        Cell::Binary(_) => panic!("values are not laid out here"),
    }
}

/// The values of a row.
pub fn cells(batch: &Batch, row: usize) -> Vec<Value> {
    batch.row(row).iter().map(|cell| value_of(batch, cell)).collect()
}

impl Reader {
    /// A server of `app` at the simulator, without the documented pace: the tests have no minute to spare.
    pub fn new(simulator: &Simulator, app: &str, options: &[(&str, &str)], credentials: &[(&str, &str)]) -> Reader {
        let source = crate::manifest::load::source(app).unwrap_or_else(|| panic!("sources/{app}.json is wrong"));
        let mut source = Source::clone(&source);
        source.rate = None;
        let address = simulator.address(app);
        let options = options.iter().copied().chain([("base_url", address.as_str())]);
        Reader {
            source,
            tables: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            position: None,
            token: None,
            notes: Vec::new(),
            unknown: BTreeMap::new(),
            options: options.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            credentials: credentials.iter().map(|(name, value)| (name.to_string(), Secret::new(*value))).collect(),
            described: BTreeMap::new(),
            session: None,
        }
    }

    /// Lets access tokens come from the app itself.
    pub fn with_tokens_of_the_app(mut self) -> Self {
        self.token = Some(Arc::default());
        self
    }

    /// Sets a server option.
    pub fn set_option(&mut self, name: &str, value: &str) {
        self.options.insert(name.to_string(), value.to_string());
    }

    pub fn app(&self) -> &str {
        &self.source.source
    }

    /// Everything that the app serves.
    pub fn collection_names(&self) -> Vec<String> {
        self.source.collections.iter().filter(|c| c.unsupported.is_none()).map(|c| c.name.clone()).collect()
    }

    pub fn account(&self) -> Account {
        Account {
            server: "simulated".into(),
            source: Arc::new(self.source.clone()),
            options: self.options.clone(),
            credentials: self.credentials.clone(),
            policy: policy(),
            token: self.session.clone(),
            proof: Default::default(),
            told: Default::default(),
        }
    }

    pub fn client(&self) -> ApiClient {
        let account = self.account();
        let tokens: Arc<dyn TokenSource> = match &self.token {
            Some(held) => Arc::new(Exchange { account: account.clone(), held: Arc::clone(held) }),
            None => Arc::new(Tokens::default()),
        };
        ApiClient::new(account, Arc::new(Stats::default()), tokens, &ClientPool::new()).unwrap()
    }

    /// Asks the app what fields these collections have: their tables get columns of them.
    pub async fn describe(&mut self, names: &[&str]) {
        for name in names {
            let collection = self.source.collection(name).unwrap().clone();
            let told = crate::extract::describe(&self.client(), &collection, None).await.unwrap().unwrap();
            let told = match self.described.get(*name) {
                Some(before) => told.following(before),
                None => told,
            };
            self.described.insert(name.to_string(), told);
        }
    }

    /// The columns of a table: those of the file, then the account's own.
    pub fn columns(&self, name: &str) -> Vec<Column> {
        let mut columns = self.source.collection(name).unwrap_or_else(|| panic!("there is no {name}")).columns.clone();
        let own = self.described.get(name).map(|described| described.columns.as_slice()).unwrap_or_default();
        let own: Vec<Column> = own
            .iter()
            .filter(|found| !found.off && !found.in_extra && !columns.iter().any(|column| column.name == found.name))
            .map(|found| Column {
                name: found.name.clone(),
                type_name: found.type_name.clone(),
                field: Some(found.field.clone()),
                format: found.format,
                ..Column::default()
            })
            .collect();
        columns.extend(own);
        columns
    }

    pub fn output(&self, name: &str) -> Output {
        let collection = self.source.collection(name).unwrap_or_else(|| panic!("there is no {name}")).clone();
        let column = |column: &Column| OutColumn {
            name: column.name.clone(),
            path: column.path(),
            target: target(&column.type_name),
            format: column.format,
        };
        let place = |name: &String| collection.columns.iter().position(|column| column.name == *name).unwrap();
        Output {
            columns: self.columns(name).iter().map(column).collect(),
            key: collection.primary_key.iter().map(place).collect(),
            keep_extra: true,
            checkpoint: self.checkpoints.get(name).cloned(),
            binary: None,
            described: self.described.get(name).cloned().map(Arc::new),
            collection: Arc::new(collection),
        }
    }

    /// Refreshes these collections; gives what went wrong with each.
    pub async fn refresh(&mut self, names: &[&str]) -> BTreeMap<String, SyncError> {
        self.refresh_from(names, None).await
    }

    /// The same, taken up at a saved position.
    pub async fn refresh_from(&mut self, names: &[&str], position: Option<Value>) -> BTreeMap<String, SyncError> {
        let outputs = names.iter().map(|name| (self.output(name), position.clone())).collect();
        let mut failed: BTreeMap<String, SyncError> = BTreeMap::new();
        self.notes.clear();
        for (_, request) in group(&self.source.clone(), outputs) {
            let names: Vec<String> = request.outputs.iter().map(|output| output.collection.name.clone()).collect();
            // What concerns the server ends the run.
            if let Some(stop) = failed.values().find(|error| error.reach() == Reach::Server).cloned() {
                failed.extend(names.into_iter().map(|name| (name, stop.clone())));
                continue;
            }
            if let Err(errors) = self.read(request).await {
                failed.extend(names.into_iter().filter_map(|name| Some((name.clone(), errors.get(&name)?.clone()))));
            }
        }
        failed
    }

    /// Refreshes these collections, all of which must go well.
    pub async fn refresh_well(&mut self, names: &[&str]) {
        let failed = self.refresh(names).await;
        assert!(failed.is_empty(), "{failed:?}");
    }

    /// Reads everything for its keys, and marks what is not among them.
    pub async fn reconcile(&mut self, names: &[&str]) {
        for name in names {
            let output = Output { checkpoint: None, ..self.output(name) };
            self.read(ReadRequest { outputs: vec![output], mode: Mode::Keys }).await.unwrap();
        }
    }

    async fn read(&mut self, request: ReadRequest) -> Result<(), BTreeMap<String, SyncError>> {
        let (outputs, mode) = (request.outputs.clone(), request.mode.clone());
        let names: Vec<String> = outputs.iter().map(|output| output.collection.name.clone()).collect();
        let channel = Channel::new(1 << 30, Box::new(|| {}));
        let ended = crate::extract::read(&self.client(), request, &Sink::new(Arc::clone(&channel))).await;
        names.iter().for_each(|name| self.tables.entry(name.clone()).or_default().seen.clear());
        while let Some(event) = channel.take() {
            match event {
                Event::Page(page) => {
                    self.store(&outputs, &page, matches!(mode, Mode::Keys));
                    self.position = page.position.or(self.position.take());
                }
                other => panic!("{other:?}"),
            }
        }
        let end: ReadEnd = ended
            .map_err(|error| names.iter().map(|name| (name.clone(), error.clone())).collect::<BTreeMap<_, _>>())?;
        self.notes.extend(end.notes.iter().cloned());
        let failed: BTreeMap<String, SyncError> =
            end.failed.into_iter().map(|(index, error)| (names[index].clone(), error)).collect();
        for (index, output) in outputs.iter().enumerate() {
            let name = &names[index];
            assert!(end.expired.iter().all(|(expired, _)| *expired != index), "{name} has to be read in full");
            if failed.contains_key(name) {
                continue;
            }
            let is_whole = !end.incomplete.contains(&index);
            if is_whole && (matches!(mode, Mode::Keys) || matches!(output.collection.deletes, Deletes::Absent)) {
                let Some(table) = self.tables.get_mut(name) else { continue };
                for (key, row) in &mut table.rows {
                    row.is_deleted |= !table.seen.contains(key);
                }
            }
            if let (Some(Some(checkpoint)), false) = (end.checkpoints.get(index), matches!(mode, Mode::Keys)) {
                self.checkpoints.insert(name.clone(), checkpoint.clone());
            }
        }
        if failed.is_empty() {
            Ok(())
        } else {
            Err(failed)
        }
    }

    /// Loads these collections as one stream that fails; gives the last place to go on from.
    pub async fn load_until_it_breaks(&mut self, names: &[&str]) -> Option<Value> {
        let outputs: Vec<Output> = names.iter().map(|name| self.output(name)).collect();
        let request = ReadRequest { outputs: outputs.clone(), mode: Mode::Full { resume: None } };
        let channel = Channel::new(1 << 30, Box::new(|| {}));
        let ended = crate::extract::read(&self.client(), request, &Sink::new(Arc::clone(&channel))).await;
        assert!(ended.is_err(), "{ended:?}");
        let mut position = None;
        while let Some(page) = channel.take_page() {
            self.store(&outputs, &page, false);
            position = page.position.or(position);
        }
        position
    }

    /// Goes on with a load that broke.
    pub async fn load_on(&mut self, names: &[&str], position: Value) {
        let outputs = names.iter().map(|name| self.output(name)).collect();
        self.read(ReadRequest { outputs, mode: Mode::Full { resume: Some(position) } }).await.unwrap();
    }

    /// Stores a page's rows, or notes only that their keys are there.
    fn store(&mut self, outputs: &[Output], page: &Page, keys_only: bool) {
        for (index, batch) in &page.batches {
            let output = &outputs[*index];
            let table = self.tables.entry(output.collection.name.clone()).or_default();
            assert_eq!(batch.rejected, [], "{}", output.collection.name);
            assert_eq!(batch.misfits, 0, "{}", output.collection.name);
            let unknown = self.unknown.entry(output.collection.name.clone()).or_default();
            unknown.extend(batch.unknown.iter().cloned());
            for (number, meta) in batch.rows.iter().enumerate() {
                let cells = cells(batch, number);
                let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
                let key = output.key.iter().map(|part| text(&cells[*part])).collect::<Vec<_>>().join(":");
                if meta.deleted != Some(true) {
                    table.seen.insert(key.clone());
                }
                if meta.key_only && meta.deleted.is_none() {
                    continue;
                }
                let is_older = |known: &Row| meta.version < known.version;
                if !keys_only && !table.rows.get(&key).is_some_and(is_older) {
                    let row = Row { cells, version: meta.version, is_deleted: meta.deleted.unwrap_or(false) };
                    table.rows.insert(key, row);
                }
            }
            let parent = output.collection.parent.as_ref().and_then(|parent| parent.key_column.as_deref());
            let column = output.columns.iter().position(|column| Some(column.name.as_str()) == parent);
            for complete in batch.complete_parents.iter().filter(|_| !keys_only) {
                let column = column.unwrap();
                let keys: BTreeSet<String> = complete.child_keys.iter().map(|key| key.replace(',', ":")).collect();
                for (key, row) in &mut table.rows {
                    let of_parent =
                        row.cells[column].as_str().map_or_else(|| row.cells[column].to_string(), str::to_string);
                    if of_parent == complete.parent_key && !keys.contains(key) {
                        row.is_deleted = true;
                    }
                }
            }
        }
    }

    /// The value of a row's column.
    pub fn cell(&self, collection: &str, key: &str, column: &str) -> Value {
        let place = self.columns(collection).iter().position(|c| c.name == column).unwrap();
        let row = self.tables[collection].rows.get(key).unwrap_or_else(|| panic!("{collection} has no {key}"));
        row.cells.get(place).cloned().unwrap_or_default()
    }

    /// Compares a table with the simulator's ledger: which rows there are, which are deleted, and every value of theirs
    /// that the ledger has. Columns in `but` are left out.
    pub async fn agrees(&self, simulator: &Simulator, collection: &str, but: &[&str]) -> usize {
        let columns = self.columns(collection);
        let empty = Table::default();
        let table = self.tables.get(collection).unwrap_or(&empty);
        let (mut there, mut compared) = (BTreeSet::new(), 0);
        for entry in simulator.ledger(self.app(), collection).await {
            // The parts of a key.
            let id = entry["id"].as_str().map_or_else(|| entry["id"].to_string(), str::to_string).replace('/', ":");
            if entry["deleted"] == true {
                assert!(table.rows.get(&id).is_none_or(|row| row.is_deleted), "{collection} {id} is deleted");
                continue;
            }
            let row = table.rows.get(&id).unwrap_or_else(|| panic!("{collection} lacks {id}"));
            assert!(!row.is_deleted, "{collection} {id} is not deleted");
            there.insert(id.clone());
            for (column, value) in
                columns.iter().zip(&row.cells).filter(|(column, _)| !but.contains(&column.name.as_str()))
            {
                let Some(want) = wanted(column, &entry["record"]) else { continue };
                assert_eq!(*value, want, "{collection} {id} {}", column.name);
                compared += 1;
            }
        }
        assert_eq!(table.keys(false), there, "{collection}");
        assert!(there.is_empty() || compared > there.len(), "{collection}: only {compared} values were compared");
        there.len()
    }
}

/// A column's value by the app's record; `None` where the record does not have it.
pub(super) fn wanted(column: &Column, record: &Value) -> Option<Value> {
    let path = column.path();
    let value = path.iter().try_fold(record, |value, name| value.get(name))?;
    if !column.is_of_record() {
        // What is around a record has the same name in the ledger.
        return record.get(&column.name).cloned();
    }
    if let Some(Shape::Pairs { key, value: held }) = &column.shape {
        let name = |item: &Value| item.pointer(key).map(|name| name.to_string().trim_matches('"').to_string());
        let pairs = value.as_array()?.iter().filter_map(|item| Some((name(item)?, item.pointer(held)?.clone())));
        return Some(Value::Object(pairs.collect::<Map<String, Value>>()));
    }
    if value.is_null() || value.as_str().is_some_and(|text| column.null_if.iter().any(|nothing| nothing == text)) {
        return Some(Value::Null);
    }
    Some(match column.type_name.as_str() {
        "timestamptz" if column.format == Format::Unix => json!(value.as_i64()? * 1_000_000),
        "timestamptz" if column.format == Format::UnixMs => json!(value.as_i64()? * 1000),
        "timestamptz" if column.format == Format::Rfc2822 => {
            json!(crate::extract::time::parse_rfc2822(value.as_str()?)?)
        }
        "timestamptz" => json!(crate::extract::time::parse_iso(value.as_str()?)?),
        "date" => json!(crate::extract::time::parse_date(value.as_str()?)?),
        // Some apps write numbers and flags as texts.
        "numeric" | "bigint" | "boolean" => {
            value.as_str().map_or_else(|| Some(value.clone()), |text| serde_json::from_str(text).ok())?
        }
        "text" => json!(value.as_str().map_or_else(|| value.to_string(), str::to_string)),
        _ => value.clone(),
    })
}
