// Makes pages live that work without it. Asks only this server, writes text only, and rests in a hidden tab.

const QUIET = 400; // ms: news that come closer together are shown together
const LATER = 3000; // ms until a stream that broke for good is asked for again

/** Fetch this page anew and put its parts with these ids in the place of the old ones. */
async function renew(ids) {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
  if (answer.status === 401) {
    location.reload();
    return;
  }
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of ids) {
    const [old, now] = [document.getElementById(id), fresh.getElementById(id)];
    if (!old || !now || old.contains(document.activeElement) || old.querySelector("details[open]")) continue;
    old.replaceWith(document.adoptNode(now));
  }
  reveal(document);
}

/** Split the bar and say the counts of an event. */
function tell(section, counts) {
  for (const [name, count] of Object.entries(counts)) {
    const place = section.querySelector(`[data-count="${name}"]`);
    if (place && count !== null) place.textContent = count.toLocaleString("en").replaceAll(",", "\u202f");
  }
  if (!counts.total) return;
  const bar = section.querySelector(".progress");
  let begin = 0;
  for (const name of ["succeeded", "skipped", "failed"]) {
    const width = (100 * counts[name]) / counts.total;
    let part = bar.querySelector(`.${name}`);
    if (!part && width) {
      part = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      part.setAttribute("class", name);
      part.setAttribute("height", "6");
      bar.append(part);
    }
    part?.setAttribute("x", begin);
    part?.setAttribute("width", width);
    begin += width;
  }
  const said = ["succeeded", "skipped", "failed"].filter((name) => counts[name]).map((name) => `${counts[name]} ${name}`);
  const label = `${counts.processed} of ${counts.total} done${said.length ? `: ${said.join(", ")}` : ""}`;
  bar.setAttribute("aria-label", label);
  section.querySelector("[data-label]").textContent = label;
}

/** Follow a run to its end. A browser that comes back says itself which event it knows. */
function follow(article) {
  const address = new URL(article.dataset.events, location.href);
  let source, waiting, last = Number(address.searchParams.get("after"));
  const close = () => {
    source?.close();
    source = undefined;
  };
  const hear = (event) => {
    const news = JSON.parse(event.data);
    last = Math.max(last, news.sequence);
    const section = document.getElementById("progress");
    if (section && news.counts.total !== null && news.kind === "progress") tell(section, news.counts);
    clearTimeout(waiting);
    const parts = ["state", "timeline", "deeds", "audit", "items"];
    const isOver = news.kind === "status" && !["queued", "running"].includes(news.status);
    waiting = setTimeout(() => renew(news.kind === "status" ? ["progress", ...parts] : ["timeline"]), QUIET);
    if (isOver) close();
  };
  const open = () => {
    if (source || document.hidden) return;
    address.searchParams.set("after", last);
    source = new EventSource(address);
    source.addEventListener("status", hear);
    source.addEventListener("progress", hear);
    source.addEventListener("error", () => {
      if (source?.readyState !== EventSource.CLOSED) return;
      close();
      setTimeout(() => fetch(location.href).then((answer) => (answer.ok ? renew(["state", "progress", "timeline", "deeds", "items", "audit"]) : location.reload())), LATER);
    });
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  open();
}

/** Renew a list every few seconds while something in it moves. */
function refresh(id) {
  const seconds = Number(document.getElementById(id).dataset.refresh);
  setInterval(() => {
    const list = document.getElementById(id);
    if (!document.hidden && list && !("idle" in list.dataset)) renew([id]).catch(() => {});
  }, seconds * 1000);
}

/** Show buttons that only work here. Without a clipboard, as over plain http, the text is selected instead. */
function reveal(root) {
  for (const button of root.querySelectorAll("[data-copy][hidden]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.firstChild.textContent = "Copied";
        setTimeout(() => (button.firstChild.textContent = "Copy"), 1500);
      } catch {
        const code = button.previousElementSibling;
        if (code) getSelection().selectAllChildren(code);
      }
    });
  }
}

reveal(document);
const article = document.querySelector("[data-events]");
if (article) follow(article);
if (document.querySelector("#live[data-refresh]")) refresh("live");
document.addEventListener("keydown", (event) => {
  const search = document.getElementById("q");
  if (event.key === "/" && search && !/^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName)) {
    event.preventDefault();
    search.focus();
  }
});
