// What the parts of the page say.

import assert from "node:assert/strict";
import test from "node:test";
import { renderToStaticMarkup } from "react-dom/server";

import { Header, lasting } from "../src/Header";
import { LiveMode, Stages } from "../src/Panels";
import { about, Field, written } from "../src/Parameters";
import { reasonOf, type Parameter, type Status } from "../src/server";

const PARAMETER: Parameter = {
  name: "till_x",
  stage: "s",
  tag: "0",
  value: 2,
  kind: "whole number",
  default: 2,
  description: "the last column",
  unit: "px",
  limits: [0, 10],
  choices: null,
};
const STATUS: Status = {
  state: "RUNNING",
  run: { uid: "u", scan_id: 7, plan_name: "<b>grid</b>", exit_status: null },
  progress: { completedEvents: 3, totalEvents: 12, lost: 0, failed: 1, rate: 2.04, lag: 1, age: 0.4, remaining: 75 },
  stages: [
    {
      name: "maps",
      kind: "reduce",
      open_runs: 1,
      streams: { primary: { received: 3, lost: 2, failed: 0 } },
      counts: {},
    },
  ],
  sources: [{ name: "dispatcher", counts: { received: 4 } }],
  deployedVersions: { bluesky_ext: "0.1.0", revision: null },
  errors: [],
};

/** The classes of the element that is the figure with a name. */
function classOf(html: string, name: string): string | undefined {
  return new RegExp(`class="([^"]*)"[^>]*data-testid="${name}"`).exec(html)?.[1];
}

test("the header says how the scan goes; what went wrong is red, and names are text", () => {
  const html = renderToStaticMarkup(<Header status={STATUS} isThere since={1100} />);
  for (const text of ["running", "3 of 12 events · 1 min left", "scan 7 &lt;b&gt;grid&lt;/b&gt;", "2.0", "1.5 s"]) {
    assert.ok(html.includes(text), text);
  }
  assert.deepEqual([classOf(html, "failed"), classOf(html, "lost")], ["figure bad", "figure"]);
  assert.ok(
    renderToStaticMarkup(<Header status={STATUS} isThere={false} since={0} />).includes("the server is not there"),
  );
});

test("in live mode overtaken frames are counted and are no loss", () => {
  const status = {
    ...STATUS,
    run: { ...STATUS.run, purpose: "live" },
    progress: { ...STATUS.progress, skipped: 40, totalEvents: null },
  };
  const html = renderToStaticMarkup(<Header status={status} isThere since={0} />);
  assert.equal(classOf(html, "skipped"), "figure");
  const live = { stream: "<i>dexela</i>", on: true, running: true, received: 812, skipped: 40 };
  const switches = renderToStaticMarkup(<LiveMode streams={[live]} />);
  assert.ok(
    switches.includes("&lt;i&gt;dexela") && switches.includes("812 frames, 40 skipped") && switches.includes("checked"),
  );
  assert.equal(renderToStaticMarkup(<LiveMode />), "");
});

test("the stages tell of each stream what came, was lost and failed", () => {
  assert.match(renderToStaticMarkup(<Stages status={STATUS} />), /primary<\/td><td>3<\/td><td class="bad">2<\/td>/);
});

test("a parameter is a field of its kind, with what it may be", () => {
  const field = (changes: Partial<Parameter>): string =>
    renderToStaticMarkup(<Field parameter={{ ...PARAMETER, ...changes }} onChange={async () => undefined} />);
  assert.match(field({}), /inputMode="decimal"[^>]*value="2"/);
  assert.match(field({ kind: "text", choices: ["sum", "mean"], value: "mean" }), /<option selected="">mean/);
  assert.match(field({ kind: "yes or no", value: true }), /type="checkbox" checked/);
  assert.match(field({ kind: "bytes", value: null, size: 5 }), /type="file".*now 5 bytes/);
  assert.equal(about(PARAMETER), "the last column · 0 to 10 px · default 2");
  assert.equal(about({ ...PARAMETER, limits: [null, 3], unit: "", description: null }), "at most 3 · default 2");
  assert.deepEqual(written(PARAMETER, "x"), ["x", "text/plain"]);
  assert.deepEqual(written({ ...PARAMETER, kind: null }, "3"), ["3", "application/json"]);
});

test("times and reasons are told in words", () => {
  assert.deepEqual([0.44, 59, 61, 3700, 200_000].map(lasting), ["0.4 s", "59 s", "1 min", "1 h 1 min", "2 days"]);
  assert.equal(reasonOf('{"detail": "no whole number"}'), "no whole number");
  assert.equal(reasonOf("refused\n"), "refused");
});
