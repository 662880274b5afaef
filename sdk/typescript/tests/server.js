// A server on this machine that answers as a test says, and tells what it was asked.
import { createServer } from "node:http";

/** answer: ({ method, url, headers, body }, number) => { status, headers, body }, or "cut" to end the connection, or "hang". */
export async function serve(answer, use) {
  const requests = [];
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const piece of request) body += piece;
    const asked = { method: request.method, url: request.url, headers: request.headers, body, at: Date.now() };
    requests.push(asked);
    const said = await answer(asked, requests.length);
    if (said === "hang") return;
    if (said === "cut") return request.socket.destroy();
    const { status = 200, headers = {} } = said;
    const type = status < 300 ? "application/json" : "application/problem+json";
    response
      .writeHead(status, { "Content-Type": type, ...headers })
      .end(typeof said.body === "string" ? said.body : JSON.stringify(said.body));
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  try {
    return await use({ baseUrl: `http://127.0.0.1:${server.address().port}`, requests });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

export const problem = (status, code, headers = {}) => ({
  status,
  headers: { "X-Request-Id": "req_1", ...headers },
  body: {
    type: `urn:buffmoney:problem:${code}`,
    title: code,
    status,
    code,
    detail: "Said so.",
    param: "amount",
    requestId: "req_1",
    retryable: status === 429 || status >= 500,
  },
});

export const event = (key, customer = "acme", quantity = "1") => ({
  customerExternalId: customer,
  idempotencyKey: key,
  metric: "tokens_input",
  quantity,
  occurredAt: "2026-03-31T08:00:00Z",
});

/** The answer to a batch that is taken whole, but for what `refuse` gives an outcome. */
export function taken(body, refuse = () => undefined) {
  const { events } = JSON.parse(body);
  const results = events.flatMap((each, index) => {
    const said = refuse(each);
    return said ? [{ index, idempotencyKey: each.idempotencyKey, ...said }] : [];
  });
  const accepted = events.length - results.length;
  const charged = (accepted * 0.25).toString();
  const balances = { [events.at(-1).customerExternalId]: "1" };
  return {
    body: {
      accepted,
      duplicates: 0,
      rejected: results.length,
      results,
      charged,
      chargedByCurrency: { CNY: charged },
      balances,
      requestId: "req_2",
    },
  };
}
