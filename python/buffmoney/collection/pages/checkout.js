// Makes the page live: it asks for the state, renews itself when that changed, counts down, and calls WeChat's own payment.
// Every state is rendered by the server, and everything but WeChat's own payment works without this file.
(() => {
  "use strict";
  const FAST_MS = 2000, SLOW_MS = 10000, FAST_FOR_MS = 60000, MEDIUM_MS = 5000, MEDIUM_FOR_MS = 300000;
  const SOON_S = 60, TIMEOUT_MS = 8000;
  // A forgotten window stops asking, and begins again when somebody looks at it.
  const FORGOTTEN_MS = 3600000;
  const live = document.getElementById("live");
  const lost = document.getElementById("lost");
  let began = performance.now();
  let endsAt = 0;
  let told = false;
  let failures = 0;
  let asking = false;
  let timer = 0;

  const page = () => document.getElementById("page");

  function setEnd(seconds) {
    endsAt = performance.now() + seconds * 1000;
  }

  function count() {
    const shown = document.getElementById("left");
    if (!shown) return;
    const left = Math.max(0, Math.ceil((endsAt - performance.now()) / 1000));
    shown.textContent = Math.floor(left / 60) + ":" + String(left % 60).padStart(2, "0");
    shown.closest(".left").classList.toggle("soon", left <= SOON_S);
    if (left <= SOON_S && left > 0 && !told) {
      told = true;
      live.textContent = page().dataset.soon;
    }
    if (left === 0 && !asking && !failures) renew();
  }

  async function fetched(address, accept) {
    const patience = new AbortController();
    const limit = setTimeout(() => patience.abort(), TIMEOUT_MS);
    try {
      const answer = await fetch(address, { headers: { accept }, cache: "no-store", signal: patience.signal });
      if (answer.status === 404) location.reload();
      if (!answer.ok) throw new Error(String(answer.status));
      return await answer.text();
    } finally {
      clearTimeout(limit);
    }
  }

  // Renders what the server shows now. Focus moves to the heading only if it would be lost with what goes.
  async function renew() {
    asking = true;
    try {
      const fresh = new DOMParser().parseFromString(await fetched(page().dataset.page, "text/html"), "text/html");
      const next = fresh.getElementById("page");
      if (!next) return location.reload();
      const changed = next.dataset.state !== page().dataset.state || next.dataset.step !== page().dataset.step;
      if (changed) {
        const hadFocus = page().contains(document.activeElement);
        document.title = fresh.title;
        page().replaceWith(document.adoptNode(next));
        show();
        const heading = document.getElementById("heading");
        const lead = heading.nextElementSibling.textContent;
        if (hadFocus || next.querySelector(".back .primary")) {
          heading.focus();
          live.textContent = lead;
        } else {
          live.textContent = heading.textContent + " · " + lead;
        }
        began = performance.now();
        told = false;
      }
      setEnd(Number(next.dataset.left));
      count();
      succeeded();
    } catch (failure) {
      failed();
    } finally {
      asking = false;
    }
  }

  function succeeded() {
    failures = 0;
    lost.hidden = true;
  }

  function failed() {
    failures += 1;
    if (failures < 2) return;
    lost.textContent = page().dataset.lost;
    if (lost.hidden) live.textContent = lost.textContent;
    lost.hidden = false;
  }

  async function check() {
    clearTimeout(timer);
    if (!asking && page().dataset.poll) {
      asking = true;
      try {
        const state = JSON.parse(await fetched(page().dataset.status, "application/json"));
        succeeded();
        setEnd(state.secondsLeft);
        if (state.state !== page().dataset.state) await renew();
      } catch (failure) {
        failed();
      } finally {
        asking = false;
      }
    }
    schedule();
  }

  function schedule() {
    clearTimeout(timer);
    const pace = page().dataset.poll;
    const since = performance.now() - began;
    if (!pace || since > FORGOTTEN_MS) return;
    let wait = since < FAST_FOR_MS ? FAST_MS : since < MEDIUM_FOR_MS ? MEDIUM_MS : SLOW_MS;
    if (pace === "slow" || document.hidden) wait = SLOW_MS;
    if (failures) wait = Math.min(SLOW_MS, Math.max(wait, FAST_MS * 2 ** Math.min(failures, 3)));
    timer = setTimeout(check, wait);
  }

  function invoke() {
    const button = document.getElementById("jsapi");
    if (!button) return;
    const call = () => {
      window.WeixinJSBridge.invoke("getBrandWCPayRequest", JSON.parse(button.dataset.parameters), (result) => {
        // What WeChat says here decides nothing but what to say: whether it was paid, the server finds out.
        if (result.err_msg !== "get_brand_wcpay_request:ok") live.textContent = tell(button.dataset.canceled);
        began = performance.now();
        check();
      });
    };
    if (window.WeixinJSBridge) call();
    else document.addEventListener("WeixinJSBridgeReady", call, { once: true });
  }

  // Without this script the button could do nothing, so it is there only with it.
  function show() {
    const button = document.getElementById("jsapi");
    if (button) button.hidden = false;
  }

  function tell(words) {
    let notice = page().querySelector(".notice");
    if (!notice) {
      notice = document.createElement("p");
      notice.className = "notice";
      document.getElementById("heading").before(notice);
    }
    notice.textContent = words;
    return words;
  }

  function free() {
    for (const button of document.querySelectorAll("button[aria-disabled]")) button.removeAttribute("aria-disabled");
  }

  document.addEventListener("submit", (event) => {
    // One tap is one payment order.
    if (page().querySelector("button[aria-disabled=true]")) event.preventDefault();
    else if (event.submitter) event.submitter.setAttribute("aria-disabled", "true");
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest("#jsapi")) invoke();
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      began = performance.now();
      check();
    }
  });
  window.addEventListener("pageshow", (event) => {
    free();
    if (event.persisted) check();
  });

  show();
  setEnd(Number(page().dataset.left));
  count();
  setInterval(count, 1000);
  if ("go" in page().dataset) {
    // Straight on, this once: the way back from the channel leads to the page as it was before.
    const link = document.getElementById("go");
    delete page().dataset.go;
    history.replaceState(null, "", page().dataset.page);
    if (link) location.assign(link.href);
    else invoke();
  }
  schedule();
})();
