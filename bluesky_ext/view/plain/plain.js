// The page of a live server where there is no other: state, progress, a picture that follows the scan, and parameters.
"use strict";

const at = (id) => document.getElementById(id);
let path = new URLSearchParams(location.search).get("path");
if (path && !path.startsWith("/")) path = `/${path}`;
let before = "";

function tell(status) {
  const { state, run, progress } = status;
  at("state").textContent = state;
  at("state").className = "";
  at("run").textContent = run.uid ? `scan ${run.scan_id ?? ""} ${run.plan_name ?? ""} ${run.exit_status ?? ""}` : "";
  at("bar").hidden = !progress.totalEvents;
  at("bar").max = progress.totalEvents ?? 1;
  at("bar").value = progress.completedEvents;
  const of = progress.totalEvents ? ` of ${progress.totalEvents}` : "";
  const numbers = {
    events: `${progress.completedEvents}${of}`,
    "per s": progress.rate,
    behind: progress.lag,
    lost: progress.lost,
    failed: progress.failed,
    age: progress.age === null ? "" : `${progress.age.toFixed(0)} s`,
  };
  at("numbers").replaceChildren(
    ...Object.entries(numbers).map(([name, value]) => {
      const [row, term, said] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
      term.textContent = name;
      said.textContent = value;
      if ((name === "lost" || name === "failed") && value) said.className = "bad";
      row.append(term, said);
      return row;
    }),
  );
  at("error").textContent = status.errors.at(-1)?.message ?? "";
}

async function choose() {
  const { default: shown, paths } = await (await fetch("/api/v1/paths")).json();
  if (paths.join("\n") !== before) {
    before = paths.join("\n");
    const said = ["", ...paths].map((one) => new Option(one || `(${shown ?? "nothing yet"})`, one));
    at("path").replaceChildren(...said);
  }
  at("path").value = path ?? "";
  return path ?? shown;
}

async function draw() {
  const next = new Image();
  next.id = "picture";
  next.alt = "the latest picture";
  next.src = "/api/v1/picture" + (path ? `?path=${encodeURIComponent(path)}` : "");
  await next.decode().then(
    () => at("picture").replaceWith(next), // when it is there, so that nothing flickers
    () => {}, // there is no picture of that
  );
}

/** Show the parameters; one that is being edited stays as it is. */
async function offer() {
  for (const one of await (await fetch("/api/v1/parameters")).json()) {
    const id = `${one.stage}/${one.name}`;
    const form = document.getElementById(id) ?? formOf(id, one);
    if (!form.contains(document.activeElement)) {
      form.elements.value.value = one.size === undefined ? String(one.value ?? "") : "";
    }
  }
}

function formOf(id, one) {
  const [form, label, input, said] = ["form", "label", "input", "small"].map((tag) => document.createElement(tag));
  const isFile = one.size !== undefined;
  form.id = id;
  input.name = "value";
  input.type = isFile ? "file" : "text";
  const limits = one.limits?.some((limit) => limit !== null) && one.limits.map((limit) => limit ?? "").join(" to ");
  said.textContent = [one.description, limits, one.choices?.join(", "), one.unit].filter(Boolean).join(" · ");
  label.append(`${one.name} `, input, " ", said);
  const reason = document.createElement("p");
  reason.className = "bad";
  form.append(label, reason);
  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("change", async () => {
    const isText = one.kind !== null || typeof one.value === "string";
    const kind = isFile ? "application/octet-stream" : isText ? "text/plain" : "application/json";
    const [name, stage] = [one.name, one.stage].map(encodeURIComponent);
    const answer = await fetch(`/api/v1/parameter/${name}?stage=${stage}`, {
      method: "PUT",
      body: isFile ? input.files[0] : input.value,
      headers: { "content-type": kind, authorization: `Bearer ${at("token").value}` },
    }).catch(() => null); // the state tells that the server is not there
    const text = answer?.ok ? "" : await answer?.text();
    reason.textContent = text?.startsWith("{") ? JSON.parse(text).detail : (text ?? "");
    at("access").hidden &&= answer?.status !== 403;
  });
  at("parameters").append(form);
  return form;
}

async function follow() {
  for (;;) {
    try {
      tell(await (await fetch("/api/v1/status")).json());
      await offer();
      if (await choose()) await draw();
    } catch {
      at("state").textContent = "the server is not there";
      at("state").className = "bad";
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}

at("path").addEventListener("change", () => {
  path = at("path").value || null;
  at("picture").replaceWith(Object.assign(document.createElement("span"), { id: "picture" })); // that of another path
  draw();
});
follow();
