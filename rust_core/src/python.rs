//! The Python module `buffmoney._core`. The only file that knows pyo3: it converts and releases the GIL, nothing else.
#![allow(clippy::needless_pass_by_value, reason = "pyo3 hands arguments over by value")]

use std::ffi::c_int;

use hashbrown::HashMap;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::copy::{CopyError, CopyReader};
use crate::counter::{CounterKey, Counters};
use crate::engine::{Engine, EngineError, Needs, WalletRow, join_grants};
use crate::key_tables::KeyTables;
use crate::money::{AMOUNT_INTEGER_DIGITS, format_nano, parse_signed_decimal_nano};
use crate::outcome::Outcome;
use crate::period_charge::{PeriodKey, Settled};
use crate::posting::{Digest, Id};
use crate::rate::{CountingText, Currency, PeriodEndText, Terms, TierText, currency_code};
use crate::simulate::{Days, Simulation};
use crate::transaction::{Group, by_tenant};
use crate::verify::Verifier;
use crate::wallet::{Grant, GrantKind, Hold, HoldState, NEVER, WalletState, read_parts};
use crate::{balance, identity, json, resp};

mod batch;
mod stored;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

impl From<EngineError> for PyErr {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Message(_) | EngineError::Catalog(_) | EngineError::Row(_) => PyValueError::new_err(error.to_string()),
            EngineError::NotLoaded(_) | EngineError::Range => PyRuntimeError::new_err(error.to_string()),
        }
    }
}

fn amount(text: &str) -> PyResult<i128> {
    parse_signed_decimal_nano(text.as_bytes(), AMOUNT_INTEGER_DIGITS).map_err(|_| PyValueError::new_err(format!("not an amount: {text:?}")))
}

fn id(bytes: &[u8]) -> PyResult<Id> {
    bytes.try_into().map_err(|_| PyValueError::new_err("an id has 16 bytes"))
}

fn digest(bytes: &[u8]) -> PyResult<Digest> {
    bytes.try_into().map_err(|_| PyValueError::new_err("a hash has 32 bytes"))
}

type IdList<'py> = Vec<(i64, Vec<Bound<'py, PyBytes>>)>;

fn grouped<'py>(py: Python<'py>, ids: impl IntoIterator<Item = (i64, Id)>) -> IdList<'py> {
    by_tenant(ids).into_iter().map(|(tenant, ids)| (tenant, ids.iter().map(|id| PyBytes::new(py, id)).collect())).collect()
}

fn pairs<'py>(py: Python<'py>, ids: &[(i64, Id)]) -> Vec<(i64, Bound<'py, PyBytes>)> {
    ids.iter().map(|(tenant, id)| (*tenant, PyBytes::new(py, id))).collect()
}

/// A group applied to memory and not yet known to be committed.
#[pyclass(name = "Group", frozen)]
struct PyGroup {
    group: Group,
}

/// The rows of one table of a group, as a buffer: megabytes that are not copied once more.
#[pyclass(name = "CopyStream", frozen)]
struct PyCopyStream {
    group: Py<PyGroup>,
    place: usize,
}

impl PyCopyStream {
    fn bytes(&self) -> &[u8] {
        self.group.get().group.copies.get(self.place).map_or(&[], |(_, _, stream)| stream)
    }
}

#[pymethods]
impl PyCopyStream {
    fn __len__(&self) -> usize {
        self.bytes().len()
    }
    /// # Safety
    /// Called by Python with a `view` to be filled. The bytes do not move or change: the group is frozen, `self` holds it and the view holds `self`.
    #[allow(unsafe_code, reason = "Python's buffer protocol")]
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut pyo3::ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let bytes = slf.get().bytes();
        let length = isize::try_from(bytes.len())?;
        // SAFETY: see above; PyBuffer_FillInfo refuses a writable view, because `readonly` is 1.
        let filled = unsafe { pyo3::ffi::PyBuffer_FillInfo(view, slf.as_ptr(), bytes.as_ptr().cast_mut().cast(), length, 1, flags) };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}

type PyCopy = (&'static str, Vec<&'static str>, PyCopyStream);

#[pymethods]
impl PyGroup {
    #[getter]
    fn group_id(&self) -> u64 {
        self.group.group_id
    }
    #[getter]
    fn empty(&self) -> bool {
        self.group.empty
    }
    #[getter]
    fn commit_id(&self) -> i64 {
        self.group.commit_id
    }
    #[getter]
    fn commit_seq(&self) -> i64 {
        self.group.commit_seq
    }
    #[getter]
    fn key_table(&self) -> i32 {
        self.group.key_table
    }
    #[getter]
    fn copies(slf: Bound<'_, Self>) -> Vec<PyCopy> {
        let copies = slf.get().group.copies.iter().enumerate();
        copies.map(|(place, (table, columns, _))| (*table, columns.to_vec(), PyCopyStream { group: slf.clone().unbind(), place })).collect()
    }
    #[getter]
    fn closed_holds<'py>(&self, py: Python<'py>) -> Vec<(i64, Bound<'py, PyBytes>, &'static str, String)> {
        self.group
            .closed_holds
            .iter()
            .map(|(tenant, id, status, captured)| (*tenant, PyBytes::new(py, id), *status, format_nano(*captured)))
            .collect()
    }
    #[getter]
    fn expired_grants<'py>(&self, py: Python<'py>) -> Vec<(i64, Bound<'py, PyBytes>)> {
        pairs(py, &self.group.expired_grants)
    }
    #[getter]
    fn configured(&self) -> Vec<(i64, i64, Option<String>, Option<String>)> {
        self.group
            .configured
            .iter()
            .map(|(tenant, account, limit, threshold)| (*tenant, *account, limit.map(format_nano), threshold.map(format_nano)))
            .collect()
    }
    #[getter]
    fn head<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.group.head)
    }
    #[getter]
    fn head_mac<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.group.head_mac)
    }
    #[getter]
    fn events_accepted(&self) -> usize {
        self.group.events
    }
    #[getter]
    fn postings(&self) -> usize {
        self.group.postings
    }
    #[getter]
    fn charged(&self) -> String {
        format_nano(self.group.charged)
    }
    #[getter]
    fn outcomes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = PyDict::new(py);
        for outcome in Outcome::ALL {
            let count = self.group.outcomes[usize::from(outcome.number())];
            if count > 0 {
                counts.set_item(outcome.code(), count)?;
            }
        }
        Ok(counts)
    }
    #[getter]
    fn command_ids<'py>(&self, py: Python<'py>) -> Vec<(i64, Bound<'py, PyBytes>)> {
        pairs(py, &self.group.new_commands)
    }
    #[getter]
    fn void_keys<'py>(&self, py: Python<'py>) -> IdList<'py> {
        grouped(py, self.group.voids.iter().copied())
    }
    #[getter]
    fn refused_commands<'py>(&self, py: Python<'py>) -> Vec<(i64, Bound<'py, PyBytes>)> {
        pairs(py, &self.group.refused_commands)
    }
    #[getter]
    fn late_periods(&self) -> Vec<PyPeriod> {
        periods_of(&self.group.late_periods)
    }
    #[getter]
    fn replies<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let bytes = |bytes: &[u8]| PyBytes::new(py, bytes);
        self.group.replies.iter().map(|(to, id, reply)| (bytes(to), bytes(id), bytes(reply))).collect()
    }
    fn publish<'py>(&self, py: Python<'py>, balance_key: &[u8], seen_generation: &[u8], ttl_ms: u64) -> (Bound<'py, PyBytes>, usize) {
        let (bytes, answers) = py.detach(|| crate::publish::commands(&self.group, balance_key, seen_generation, ttl_ms));
        (PyBytes::new(py, &bytes), answers)
    }
}

/// What must be loaded before messages can be applied.
#[pyclass(name = "Needs", frozen)]
struct PyNeeds {
    needs: Needs,
}

#[pymethods]
impl PyNeeds {
    #[getter]
    fn catalogs(&self) -> Vec<i64> {
        self.needs.catalogs.clone()
    }
    #[getter]
    fn wallets(&self) -> Vec<(i64, String)> {
        self.needs.wallets.clone()
    }
    #[getter]
    fn accounts(&self) -> Vec<(i64, i64)> {
        self.needs.accounts.clone()
    }
    #[getter]
    fn holds<'py>(&self, py: Python<'py>) -> Vec<(i64, Bound<'py, PyBytes>)> {
        pairs(py, &self.needs.holds)
    }
    #[getter]
    fn keys<'py>(&self, py: Python<'py>) -> Vec<(i64, Bound<'py, PyBytes>)> {
        pairs(py, &self.needs.keys)
    }
    #[getter]
    fn events<'py>(&self, py: Python<'py>) -> Vec<(i64, Bound<'py, PyBytes>, String)> {
        self.needs.events.iter().map(|(tenant, hash, key)| (*tenant, PyBytes::new(py, hash), key.clone())).collect()
    }
    #[getter]
    fn settled(&self) -> Vec<PyPeriod> {
        periods_of(&self.needs.settled)
    }
    #[getter]
    fn account_ids(&self) -> usize {
        self.needs.account_ids
    }
    #[getter]
    fn nothing(&self) -> bool {
        self.needs.nothing()
    }
}

type PyWalletRow = (i64, i64, String, String, Option<String>, Option<String>, i64, String, String, String, Vec<u8>, Option<Vec<u8>>);
type PyGrantRow = (i64, Vec<u8>, String, i16, String, Option<i64>, i64);
type PyCounterRow = (i64, i32, i64, String);
type CountersOf = HashMap<i64, Vec<(CounterKey, i128)>>;
/// (tenant, account, period start in microseconds, counter).
type PyPeriod = (i64, i64, i64, i32);
/// (period, revision, quantity, charged, total, parts).
type PySettledRow = (PyPeriod, i32, String, String, String, Vec<u8>);
type PyHoldRow = (i64, Vec<u8>, i64, String, Vec<u8>, i64, String);

fn grant_facts(rows: Vec<PyGrantRow>) -> PyResult<HashMap<Id, Grant>> {
    rows.into_iter()
        .map(|(_, grant_id, kind, priority, _, expires_us, created_us)| {
            let kind = GrantKind::from_name(&kind).ok_or_else(|| PyValueError::new_err(format!("not a grant kind: {kind}")))?;
            let id = id(&grant_id)?;
            Ok((id, Grant { id, remaining: 0, expires_us: expires_us.unwrap_or(NEVER), created_us, priority, kind }))
        })
        .collect()
}

fn wallet_row(row: PyWalletRow, grants: &HashMap<Id, Grant>, counters: &mut CountersOf) -> PyResult<WalletRow> {
    let (tenant, account, external_id, currency, limit, threshold, seq, balance, held, unbilled, chain, grants_after) = row;
    let parts = read_parts(grants_after.as_deref().unwrap_or_default()).ok_or_else(|| PyValueError::new_err("malformed grants_after"))?;
    Ok(WalletRow {
        tenant,
        account,
        external_id,
        currency: self::currency(&currency)?,
        state: WalletState {
            balance: amount(&balance)?,
            held: amount(&held)?,
            unbilled: amount(&unbilled)?,
            overdraft_limit: limit.as_deref().map(amount).transpose()?,
            low_balance_threshold: threshold.as_deref().map(amount).transpose()?,
            seq,
            chain: digest(&chain)?,
            grants: join_grants(&parts, grants)?,
        },
        counters: Counters::new(counters.remove(&account).unwrap_or_default()),
    })
}

fn hold_row(row: PyHoldRow, grants: &HashMap<Id, Grant>) -> PyResult<(i64, Id, HoldState)> {
    let (tenant, hold_id, account, held, parts, expires_us, status) = row;
    let state = match status.as_str() {
        "open" => {
            let parts = read_parts(&parts).ok_or_else(|| PyValueError::new_err("malformed parts"))?;
            HoldState::Open(Hold { account, amount: amount(&held)?, expires_us, parts: join_grants(&parts, grants)? })
        }
        "captured" => HoldState::Closed("captured"),
        "released" => HoldState::Closed("released"),
        "expired" => HoldState::Closed("expired"),
        _ => return Err(PyValueError::new_err(format!("not a hold status: {status}"))),
    };
    Ok((tenant, id(&hold_id)?, state))
}

fn ids(rows: Vec<(i64, Vec<u8>)>) -> PyResult<Vec<(i64, Id)>> {
    rows.into_iter().map(|(tenant, bytes)| Ok((tenant, id(&bytes)?))).collect()
}

fn period_keys(periods: &[PyPeriod]) -> Vec<PeriodKey> {
    let key = |&(tenant, account, period_start_us, counter_id): &PyPeriod| (tenant, account, CounterKey { period_start_us, counter_id });
    periods.iter().map(key).collect()
}

fn periods_of(keys: &[PeriodKey]) -> Vec<PyPeriod> {
    keys.iter().map(|(tenant, account, key)| (*tenant, *account, key.period_start_us, key.counter_id)).collect()
}

fn settled_row(row: PySettledRow, grants: &HashMap<Id, Grant>) -> PyResult<(PeriodKey, Settled)> {
    let ((tenant, account, period_start_us, counter_id), revision, quantity, charged, total, parts) = row;
    let parts = read_parts(&parts).ok_or_else(|| PyValueError::new_err("malformed parts"))?;
    let (quantity, charged, total) = (amount(&quantity)?, amount(&charged)?, amount(&total)?);
    let settled = Settled { revision, quantity, charged, total, parts: join_grants(&parts, grants)? };
    Ok(((tenant, account, CounterKey { period_start_us, counter_id }), settled))
}

/// One partition in memory.
#[pyclass(name = "Engine")]
struct PyEngine {
    engine: Engine,
    key_rows: CopyReader,
}

#[pymethods]
impl PyEngine {
    #[new]
    #[pyo3(signature = (partition_id, ledger_key, max_wallets = 1_000_000, recent_keys = 100_000))]
    fn new(partition_id: i64, ledger_key: &[u8], max_wallets: usize, recent_keys: usize) -> PyResult<Self> {
        Ok(Self { engine: Engine::new(partition_id, digest(ledger_key)?, max_wallets, recent_keys), key_rows: CopyReader::default() })
    }
    fn start(&mut self, commit_seq: i64, head: &[u8], epoch: i64) -> PyResult<()> {
        self.engine.start(commit_seq, digest(head)?, epoch);
        Ok(())
    }
    fn load_catalog(&mut self, tenant_id: i64, catalog: &[u8]) -> PyResult<()> {
        Ok(self.engine.load_catalog(tenant_id, catalog)?)
    }
    fn drop_catalog(&mut self, tenant_id: i64) {
        self.engine.drop_catalog(tenant_id);
    }
    fn add_account_ids(&mut self, ids: Vec<i64>) {
        self.engine.add_account_ids(ids);
    }
    #[pyo3(signature = (rows, grants, absent, counters = Vec::new()))]
    fn load_wallets(
        &mut self,
        rows: Vec<PyWalletRow>,
        grants: Vec<PyGrantRow>,
        absent: Vec<(i64, String)>,
        counters: Vec<PyCounterRow>,
    ) -> PyResult<()> {
        let grants = grant_facts(grants)?;
        let mut by_account = CountersOf::new();
        for (account, counter_id, period_start_us, quantity) in counters {
            by_account.entry(account).or_default().push((CounterKey { period_start_us, counter_id }, amount(&quantity)?));
        }
        let rows = rows.into_iter().map(|row| wallet_row(row, &grants, &mut by_account)).collect::<PyResult<_>>()?;
        self.engine.load_wallets(rows, absent);
        Ok(())
    }
    fn load_holds(&mut self, rows: Vec<PyHoldRow>, grants: Vec<PyGrantRow>, absent: Vec<(i64, Vec<u8>)>) -> PyResult<()> {
        let grants = grant_facts(grants)?;
        let rows = rows.into_iter().map(|row| hold_row(row, &grants)).collect::<PyResult<_>>()?;
        self.engine.load_holds(rows, ids(absent)?);
        Ok(())
    }
    fn reserve_key_filters(&mut self, py: Python<'_>, bytes: usize) {
        let tables = self.engine.key_tables_mut();
        py.detach(|| *tables = KeyTables::with_memory(bytes));
    }
    #[pyo3(signature = (tables, stored))]
    fn add_key_span(&mut self, tables: Vec<i32>, stored: Option<&[u8]>) -> PyResult<bool> {
        self.engine.key_tables_mut().add_span(tables, stored).map_err(|error| PyValueError::new_err(error.to_string()))
    }
    fn begin_key_span(&mut self, capacity: u64) {
        self.engine.key_tables_mut().begin_span(capacity);
    }
    fn add_closed_key_table(&mut self, number: i32) {
        self.engine.key_tables_mut().add_closed(number);
        self.key_rows = CopyReader::default();
    }
    fn feed_closed_key_table(&mut self, py: Python<'_>, chunk: &[u8]) -> PyResult<u64> {
        let (tables, rows) = (self.engine.key_tables_mut(), &mut self.key_rows);
        copied(py.detach(|| read_keys(rows, chunk, |key, _| tables.add_key(&key))))
    }
    fn open_key_table(&mut self, number: i32, capacity: u64) {
        self.engine.open_key_table(number, capacity);
        self.key_rows = CopyReader::default();
    }
    fn feed_key_table(&mut self, py: Python<'_>, chunk: &[u8]) -> PyResult<u64> {
        let (engine, rows) = (&mut self.engine, &mut self.key_rows);
        copied(py.detach(|| read_keys(rows, chunk, |key, fingerprint| engine.load_key(key, fingerprint))))
    }
    fn turn_key_table<'py>(
        &mut self,
        py: Python<'py>,
        number: i32,
        capacity: u64,
        span: u64,
    ) -> Option<(i32, u64, Option<Bound<'py, PyBytes>>)> {
        let closed = self.engine.turn_key_table(number, capacity, span)?;
        Some((closed.number, closed.keys, closed.filter.map(|filter| PyBytes::new(py, &filter))))
    }
    #[getter]
    fn key_table(&self) -> i32 {
        self.engine.key_tables().current()
    }
    #[getter]
    fn key_table_fill(&self) -> (u64, u64) {
        self.engine.key_tables().fill()
    }
    #[getter]
    fn key_tables_in_memory(&self) -> Vec<i32> {
        self.engine.key_tables().in_memory().collect()
    }
    fn key_tables_with(&self, keys: Vec<(i64, Vec<u8>)>) -> PyResult<Vec<(i32, usize)>> {
        let keys = ids(keys)?;
        let places =
            keys.iter().enumerate().flat_map(|(place, (_, key))| self.engine.key_tables_with(key).map(move |table| (table, place)));
        Ok(places.collect())
    }
    fn remember_absent_keys(&mut self, keys: Vec<Vec<u8>>) -> PyResult<()> {
        let keys = keys.iter().map(|key| id(key)).collect::<PyResult<Vec<_>>>()?;
        self.engine.remember_absent_keys(keys);
        Ok(())
    }
    fn load_events(&mut self, rows: Vec<stored::PyEventRow>, grants: Vec<PyGrantRow>, absent: Vec<Vec<u8>>) -> PyResult<()> {
        let grants = grant_facts(grants)?;
        let rows = rows.into_iter().map(|row| stored::event_row(row, &grants)).collect::<PyResult<_>>()?;
        self.engine.load_events(rows, absent.iter().map(|hash| id(hash)).collect::<PyResult<_>>()?);
        Ok(())
    }
    fn load_settled(&mut self, rows: Vec<PySettledRow>, grants: Vec<PyGrantRow>, absent: Vec<PyPeriod>) -> PyResult<()> {
        let grants = grant_facts(grants)?;
        let rows = rows.into_iter().map(|row| settled_row(row, &grants)).collect::<PyResult<_>>()?;
        self.engine.load_settled(rows, period_keys(&absent));
        Ok(())
    }
    fn remember_keys(&mut self, rows: Vec<(Vec<u8>, i64)>) -> PyResult<()> {
        let rows = rows.into_iter().map(|(key, fingerprint)| Ok((id(&key)?, fingerprint.cast_unsigned()))).collect::<PyResult<Vec<_>>>()?;
        self.engine.remember_keys(rows);
        Ok(())
    }
    fn remember_commands(&mut self, rows: Vec<(i64, Vec<u8>, i64, String)>) -> PyResult<()> {
        let rows = rows
            .into_iter()
            .map(|(tenant, command, fingerprint, result)| Ok((tenant, id(&command)?, fingerprint.cast_unsigned(), result)))
            .collect::<PyResult<Vec<_>>>()?;
        self.engine.remember_commands(rows);
        Ok(())
    }
    fn needs(&mut self, py: Python<'_>, messages: Vec<Bound<'_, PyBytes>>) -> PyResult<PyNeeds> {
        let messages: Vec<&[u8]> = messages.iter().map(|message| message.as_bytes()).collect();
        let needs = py.detach(|| self.engine.needs(&messages))?;
        Ok(PyNeeds { needs })
    }
    #[pyo3(signature = (wallets, holds, periods = Vec::new()))]
    fn sweep_needs(&self, wallets: Vec<(i64, i64)>, holds: Vec<(i64, Vec<u8>)>, periods: Vec<PyPeriod>) -> PyResult<PyNeeds> {
        Ok(PyNeeds { needs: self.engine.sweep_needs(&wallets, &ids(holds)?, &period_keys(&periods)) })
    }
    fn apply(&mut self, py: Python<'_>, messages: Vec<Bound<'_, PyBytes>>, now_us: i64) -> PyResult<PyGroup> {
        let messages: Vec<&[u8]> = messages.iter().map(|message| message.as_bytes()).collect();
        let group = py.detach(|| self.engine.apply(&messages, now_us))?;
        Ok(PyGroup { group })
    }
    #[pyo3(signature = (wallets, holds, now_us, periods = Vec::new()))]
    fn sweep(&mut self, wallets: Vec<(i64, i64)>, holds: Vec<(i64, Vec<u8>)>, now_us: i64, periods: Vec<PyPeriod>) -> PyResult<PyGroup> {
        Ok(PyGroup { group: self.engine.sweep(&wallets, &ids(holds)?, &period_keys(&periods), now_us) })
    }
    fn commit(&mut self, group_id: u64) {
        self.engine.commit(group_id);
    }
    fn rollback(&mut self) {
        self.engine.rollback();
    }
    fn balance<'py>(&self, py: Python<'py>, tenant_id: i64, external_id: &str) -> Option<Bound<'py, PyBytes>> {
        self.engine.balance(tenant_id, external_id).map(|packed| PyBytes::new(py, &packed))
    }
    #[getter]
    fn wallets(&self) -> usize {
        self.engine.wallet_count()
    }
    #[getter]
    fn open_groups(&self) -> usize {
        self.engine.open_groups()
    }
    #[getter]
    fn memory_bytes(&self) -> usize {
        self.engine.memory_bytes()
    }
}

/// (tenant, price id, model, price, per, percent, minimum, currency, what counts, what is settled at the end of a period).
type PyPriceRow = (i64, i32, String, String, String, Option<String>, Option<String>, String, PyCounting, PyPeriodEnd);
/// (counter, allowance, tiers as the catalogue's JSON has them, blocks).
type PyCounting = (Option<i32>, Option<String>, Option<String>, Option<String>);
/// (minimum per period, counter of units, counter of charges).
type PyPeriodEnd = (Option<String>, Option<i32>, Option<i32>);

fn currency(text: &str) -> PyResult<Currency> {
    currency_code(text).ok_or_else(|| PyValueError::new_err("not a currency"))
}

/// `ledger verify`.
#[pyclass(name = "Verifier")]
struct PyVerifier {
    verifier: Option<Verifier>,
}

impl PyVerifier {
    fn open(&mut self) -> PyResult<&mut Verifier> {
        self.verifier.as_mut().ok_or_else(|| PyRuntimeError::new_err("finish was called"))
    }
}

/// Key hashes and fingerprints, as COPY BINARY sends them.
fn read_keys(rows: &mut CopyReader, chunk: &[u8], mut take: impl FnMut(Id, u64)) -> Result<u64, CopyError> {
    rows.feed(chunk);
    let (mut ranges, mut read) = (Vec::new(), 0);
    while let Some(bytes) = rows.next_row(&mut ranges)? {
        let mut fields = ranges.iter().map(|range| range.and_then(|(from, to)| bytes.get(from..to)));
        let key = fields.next().flatten().and_then(|key| key.try_into().ok()).ok_or(CopyError("not a key"))?;
        let fingerprint = fields.next().flatten().and_then(|bytes| bytes.try_into().ok()).ok_or(CopyError("not a fingerprint"))?;
        take(key, u64::from_be_bytes(fingerprint));
        read += 1;
    }
    Ok(read)
}

fn copied(result: Result<u64, crate::copy::CopyError>) -> PyResult<u64> {
    result.map_err(|error| PyValueError::new_err(error.to_string()))
}

#[pymethods]
impl PyVerifier {
    #[new]
    fn new(ledger_key: &[u8]) -> PyResult<Self> {
        Ok(Self { verifier: Some(Verifier::new(digest(ledger_key)?)) })
    }
    fn postings(&mut self, py: Python<'_>, chunk: &[u8]) -> PyResult<u64> {
        let verifier = self.open()?;
        copied(py.detach(|| verifier.postings(chunk)))
    }
    fn prices(&mut self, rows: Vec<PyPriceRow>) -> PyResult<()> {
        let verifier = self.open()?;
        for (tenant, price_id, model, price, per, percent, minimum, currency_text, counting, end) in rows {
            let (counter_id, allowance, tiers, blocks) = counting;
            let tiers: Option<Vec<TierText>> = tiers
                .map(|tiers| serde_json::from_str(&tiers))
                .transpose()
                .map_err(|error| PyValueError::new_err(format!("tiers of price {price_id}: {error}")))?;
            let (allowance, blocks) = (allowance.as_deref(), blocks.as_deref());
            let counting = CountingText { counter_id, allowance, tiers: tiers.as_deref(), blocks };
            let terms = Terms::parse(&model, &price, &per, percent.as_deref(), minimum.as_deref());
            let end = PeriodEndText { minimum_per_period: end.0.as_deref(), quantity_counter: end.1, charge_counter: end.2 };
            let terms = terms.and_then(|terms| terms.counted(&counting)?.settled(&end, &counting));
            verifier.add_price(tenant, price_id, currency(&currency_text)?, terms);
        }
        Ok(())
    }
    fn periods(&mut self, rows: Vec<(i64, Vec<i64>)>) -> PyResult<()> {
        let verifier = self.open()?;
        rows.into_iter().for_each(|(tenant, starts_us)| verifier.add_periods(tenant, starts_us));
        Ok(())
    }
    fn counters(&mut self, py: Python<'_>, chunk: &[u8]) -> PyResult<u64> {
        let verifier = self.open()?;
        copied(py.detach(|| verifier.counters(chunk)))
    }
    fn metrics(&mut self, rows: Vec<(i64, i64, String)>) -> PyResult<()> {
        let verifier = self.open()?;
        rows.into_iter().for_each(|(tenant, metric_id, code)| verifier.add_metric(tenant, metric_id, code));
        Ok(())
    }
    fn customers(&mut self, rows: Vec<(i64, i64, String, String)>) -> PyResult<()> {
        let verifier = self.open()?;
        for (tenant, account, external_id, currency_text) in rows {
            verifier.add_customer(tenant, account, external_id, currency(&currency_text)?);
        }
        Ok(())
    }
    fn voids(&mut self, py: Python<'_>, chunk: &[u8]) -> PyResult<u64> {
        let verifier = self.open()?;
        copied(py.detach(|| verifier.voids(chunk)))
    }
    fn period_charges(&mut self, py: Python<'_>, chunk: &[u8]) -> PyResult<u64> {
        let verifier = self.open()?;
        copied(py.detach(|| verifier.period_charges(chunk)))
    }
    fn at(&mut self, now_us: i64) -> PyResult<()> {
        self.open()?.at(now_us);
        Ok(())
    }
    fn events(&mut self, py: Python<'_>, chunk: &[u8]) -> PyResult<u64> {
        let verifier = self.open()?;
        copied(py.detach(|| verifier.events(chunk)))
    }
    fn event_keys(&mut self, py: Python<'_>, chunk: &[u8]) -> PyResult<u64> {
        let verifier = self.open()?;
        copied(py.detach(|| verifier.event_keys(chunk)))
    }
    fn commits(&mut self, py: Python<'_>, chunk: &[u8]) -> PyResult<u64> {
        let verifier = self.open()?;
        copied(py.detach(|| verifier.commits(chunk)))
    }
    #[pyo3(signature = (rows, current = true))]
    fn heads(&mut self, rows: Vec<(i64, i64, Vec<u8>, Vec<u8>)>, current: bool) -> PyResult<()> {
        let verifier = self.open()?;
        rows.iter().for_each(|(partition, seq, head, mac)| verifier.head(*partition, *seq, head, mac, current));
        Ok(())
    }
    fn finish<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let verifier = self.verifier.take().ok_or_else(|| PyRuntimeError::new_err("finish was called"))?;
        let report = serde_json::to_vec(&verifier.finish()).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok(PyBytes::new(py, &report))
    }
}

/// A rate card over past usage.
#[pyclass(name = "Simulation")]
struct PySimulation {
    simulation: Option<Simulation>,
}

#[pymethods]
impl PySimulation {
    #[new]
    #[pyo3(signature = (catalog_before, catalog_after, first_day, day_starts_us, settled = (0, 0), looked_at = (i64::MIN, i64::MAX)))]
    fn new(
        catalog_before: &[u8],
        catalog_after: &[u8],
        first_day: i64,
        day_starts_us: Vec<i64>,
        settled: (i64, i64),
        looked_at: (i64, i64),
    ) -> PyResult<Self> {
        let made = Simulation::new(catalog_before, catalog_after, Days::new(first_day, day_starts_us));
        let made = made.map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { simulation: Some(made.settling(settled.0, settled.1).looking_at(looked_at.0..looked_at.1)) })
    }
    fn events(&mut self, py: Python<'_>, chunk: &[u8]) -> PyResult<u64> {
        let simulation = self.simulation.as_mut().ok_or_else(|| PyRuntimeError::new_err("finish was called"))?;
        copied(py.detach(|| simulation.events(chunk)))
    }
    fn period_charges(&mut self, rows: Vec<(i64, i32, i64, String)>) -> PyResult<()> {
        let simulation = self.simulation.as_mut().ok_or_else(|| PyRuntimeError::new_err("finish was called"))?;
        for (account, metric, last_us, total) in rows {
            let added = simulation.period_charge(account, metric, last_us, amount(&total)?);
            added.map_err(|error| PyValueError::new_err(error.to_string()))?;
        }
        Ok(())
    }
    #[pyo3(signature = (most = None))]
    fn finish<'py>(&mut self, py: Python<'py>, most: Option<usize>) -> PyResult<Bound<'py, PyBytes>> {
        let simulation = self.simulation.take().ok_or_else(|| PyRuntimeError::new_err("finish was called"))?;
        let report = py.detach(|| {
            let report = simulation.finish(most).map_err(|error| PyValueError::new_err(error.to_string()))?;
            serde_json::to_vec(&report).map_err(|error| PyRuntimeError::new_err(error.to_string()))
        })?;
        Ok(PyBytes::new(py, &report))
    }
}

#[pyfunction]
fn repeated_name(py: Python<'_>, body: &[u8]) -> PyResult<Option<String>> {
    py.detach(|| json::repeated_name(body)).map_err(|error| PyValueError::new_err(error.to_string()))
}

#[pyfunction]
fn key_hash<'py>(py: Python<'py>, tenant_id: i64, idempotency_key: &str) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &identity::key_hash(tenant_id.cast_unsigned(), idempotency_key.as_bytes()))
}

#[pyfunction]
fn render_balance<'py>(py: Python<'py>, packed: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let body = balance::render(packed).ok_or_else(|| PyValueError::new_err("not a packed wallet"))?;
    Ok(PyBytes::new(py, &body))
}

#[pyfunction]
fn pack_resp<'py>(py: Python<'py>, arguments: Vec<Bound<'py, PyBytes>>) -> Bound<'py, PyBytes> {
    let arguments: Vec<&[u8]> = arguments.iter().map(|argument| argument.as_bytes()).collect();
    PyBytes::new(py, &resp::pack_command(&arguments))
}

/// What is done per event: decode, rate, deduct, post, encode; and the verification of all of it.
#[pymodule]
mod _core {
    #[pymodule_export]
    use super::batch::{BatchError, PyDecodedBatch, command_message, decode_batch, split_reply, usage_events};
    #[pymodule_export]
    use super::{PyCopyStream, PyEngine, PyGroup, PyNeeds, PySimulation, PyVerifier, key_hash, pack_resp, render_balance, repeated_name};
}
