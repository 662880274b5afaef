//! The edge's half for Python: bodies in, messages and answers out.

use std::collections::HashMap;

use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::id;
use crate::answer::AnswerError;
use crate::event::{self, BatchError as Refusal, DecodedBatch};
use crate::message::{self, Header, Message, MessageBody, MessageError, Reply};
use crate::posting::Id;

create_exception!(buffmoney._core, BatchError, PyValueError, "A whole body is refused. args = (status, code, detail, param or None).");

impl From<MessageError> for PyErr {
    fn from(error: MessageError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

impl From<AnswerError> for PyErr {
    fn from(error: AnswerError) -> Self {
        PyValueError::new_err(error.to_string())
    }
}

fn tenant(tenant_id: i64) -> u64 {
    tenant_id.cast_unsigned()
}

/// A decoded and validated body.
#[pyclass(name = "DecodedBatch")]
pub struct PyDecodedBatch {
    batch: DecodedBatch,
}

#[pymethods]
impl PyDecodedBatch {
    #[getter]
    fn count(&self) -> usize {
        self.batch.count()
    }
    #[getter]
    fn rejected(&self) -> usize {
        self.batch.rejected()
    }
    #[getter]
    fn pending(&self) -> usize {
        self.batch.pending()
    }
    #[getter]
    fn all_invalid(&self) -> bool {
        self.batch.all_invalid()
    }
    #[getter]
    fn problems<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.batch.problems())
    }
    fn seen_command<'py>(&self, py: Python<'py>, generations: Vec<Bound<'py, PyBytes>>) -> (Bound<'py, PyBytes>, usize) {
        let generations: Vec<&[u8]> = generations.iter().map(|key| key.as_bytes()).collect();
        let (command, answers) = self.batch.seen_command(&generations);
        (PyBytes::new(py, &command), answers)
    }
    const fn mark_seen(&mut self) {
        self.batch.mark_seen();
    }
    fn message<'py>(&self, py: Python<'py>, message_id: &[u8], reply_to: &[u8], redelivered: bool) -> PyResult<Bound<'py, PyBytes>> {
        let message = self.batch.message(id(message_id)?, reply_to, redelivered)?;
        Ok(PyBytes::new(py, &message))
    }
    fn section<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.batch.section()?))
    }
    #[pyo3(signature = (reply, all_results, request_id, charges = None))]
    fn answer<'py>(
        &self,
        py: Python<'py>,
        reply: Option<&[u8]>,
        all_results: bool,
        request_id: &str,
        charges: Option<HashMap<Vec<u8>, String>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let charges: HashMap<Id, String> =
            charges.unwrap_or_default().into_iter().map(|(key, charge)| Ok((id(&key)?, charge))).collect::<PyResult<_>>()?;
        let answer = self.batch.answer(reply, all_results, request_id, &charges)?;
        Ok(PyBytes::new(py, &answer))
    }
}

/// Decodes and validates a body.
#[pyfunction]
#[pyo3(signature = (body, tenant_id, now_us, max_events = 500))]
pub fn decode_batch(py: Python<'_>, body: &[u8], tenant_id: i64, now_us: i64, max_events: usize) -> PyResult<PyDecodedBatch> {
    py.detach(|| event::decode_batch(body, tenant(tenant_id), now_us, max_events))
        .map(|batch| PyDecodedBatch { batch })
        .map_err(|Refusal { status, code, detail, param }| BatchError::new_err((status, code, detail, param)))
}

/// A wallet command for the inbox.
#[pyfunction]
pub fn command_message<'py>(
    py: Python<'py>,
    tenant_id: i64,
    message_id: &[u8],
    reply_to: &[u8],
    redelivered: bool,
    command: &[u8],
    section: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let header = Header { redelivered, tenant_id: tenant(tenant_id), message_id: id(message_id)?, reply_to, mark: [0; 16] };
    Ok(PyBytes::new(py, &message::command_message(header, command, section)?))
}

/// (message id, kind, body).
#[pyfunction]
pub fn split_reply<'py>(py: Python<'py>, reply: &[u8]) -> PyResult<(Bound<'py, PyBytes>, u8, Bound<'py, PyBytes>)> {
    let reply = Reply::parse(reply)?;
    Ok((PyBytes::new(py, &reply.message_id), reply.kind, PyBytes::new(py, reply.body)))
}

/// (key hash, index in the client's batch, idempotency key) of the events of a usage message.
#[pyfunction]
pub fn usage_events<'py>(py: Python<'py>, message: &[u8]) -> PyResult<Vec<(Bound<'py, PyBytes>, u16, String)>> {
    let MessageBody::Usage(section) = Message::parse(message)?.body else { return Ok(Vec::new()) };
    Ok(section.events.iter().map(|event| (PyBytes::new(py, &event.key_hash), event.index, event.idempotency_key.to_owned())).collect())
}
