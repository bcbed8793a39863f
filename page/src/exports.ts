// Pictures and tables of what is seen, for a notebook or a colleague: with the run on them.

import type { Status } from "./server";

/** What a picture or a table says of where it comes from. */
export interface Origin {
  uid: string | null;
  scan: string;
  version: string;
}

export function originOf(status: Status | undefined, of: string | null): Origin {
  const { run, deployedVersions } = status ?? {};
  const isLatest = of === null || of === run?.uid;
  return {
    uid: of ?? run?.uid ?? null,
    scan: isLatest ? `scan ${run?.scan_id ?? "–"} ${run?.plan_name ?? ""}`.trim() : "an earlier scan",
    version: `bluesky-ext ${deployedVersions?.bluesky_ext ?? ""}`,
  };
}

/** Columns as CSV (RFC 4180), with lines before them that say where they come from. */
export function csvOf(columns: Record<string, ArrayLike<unknown>>, title: string, { uid, scan, version }: Origin): string {
  const names = Object.keys(columns);
  const length = Math.max(0, ...names.map((name) => columns[name]!.length));
  const lines = [`# ${oneLine(title)}`, `# ${oneLine(scan)}, run ${uid ?? "none"}`, `# ${version}`];
  lines.push(names.map(cell).join(","));
  for (let row = 0; row < length; row++) {
    lines.push(names.map((name) => cell(columns[name]![row])).join(","));
  }
  return `${lines.join("\r\n")}\r\n`;
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, " ");
}

function cell(value: unknown): string {
  const text = value === null || value === undefined ? "" : String(value);
  // A text that begins as a formula would be computed by a spreadsheet.
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Save a picture of an element, with a line below it that says where it comes from. */
export async function savePicture(element: HTMLElement, title: string, origin: Origin): Promise<void> {
  const color = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const { width, height } = element.getBoundingClientRect();
  const image = await pictureOf(element, width, height);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [SCALE * width, SCALE * (height + LINE)];
  const context = canvas.getContext("2d")!;
  context.scale(SCALE, SCALE);
  context.fillStyle = color("--card");
  context.fillRect(0, 0, width, height + LINE);
  context.drawImage(image, 0, 0, width, height);
  context.fillStyle = color("--muted");
  context.font = "11px system-ui, sans-serif";
  context.fillText(captionOf(title, origin), 8, height + 15, width - 16);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/png"));
  if (!blob) {
    throw new Error("the browser makes no picture of this");
  }
  save(blob, `${fileName(title, origin)}.png`);
}

/** The pixels of a picture for each of the screen, and the height of the line below it, in pixels of the screen. */
const [SCALE, LINE] = [2, 22];

/** An element as an image: a copy of it in SVG, each part with its style. */
async function pictureOf(element: HTMLElement, width: number, height: number): Promise<HTMLImageElement> {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const frame = document.createElementNS(svg.namespaceURI, "foreignObject");
  for (const [name, value] of Object.entries({ width, height })) {
    svg.setAttribute(name, String(value));
    frame.setAttribute(name, String(value));
  }
  frame.append(copyOf(element)!);
  svg.append(frame);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(svg))}`;
  await image.decode();
  return image;
}

/** What is not in a picture: that which only the hand needs. */
const UNSEEN = "[data-unseen], .tools, .hidden";

function copyOf(node: Node): Node | undefined {
  if (!(node instanceof HTMLElement || node instanceof SVGElement)) {
    return node.cloneNode();
  }
  if (node.matches(UNSEEN)) {
    return undefined;
  }
  const copy = node instanceof HTMLCanvasElement ? new Image() : (node.cloneNode() as HTMLElement | SVGElement);
  if (node instanceof HTMLCanvasElement) {
    (copy as HTMLImageElement).src = node.toDataURL();
  }
  const style = getComputedStyle(node);
  copy.style.cssText = Array.from(style, (name) => `${name}:${style.getPropertyValue(name)}`).join(";");
  copy.append(...Array.from(node.childNodes, copyOf).filter((child) => child !== undefined));
  return copy;
}

export function captionOf(title: string, { uid, scan, version }: Origin): string {
  return `${title} · ${scan} · run ${uid ?? "none"} · ${new Date().toISOString().slice(0, 19)}Z · ${version}`;
}

export function saveTable(columns: Record<string, ArrayLike<unknown>>, title: string, origin: Origin): void {
  save(new Blob([csvOf(columns, title, origin)], { type: "text/csv" }), `${fileName(title, origin)}.csv`);
}

function fileName(title: string, { scan, uid }: Origin): string {
  return `${scan} ${title} ${uid?.slice(0, 8) ?? ""}`.replace(/[^\p{L}\p{N}.-]+/gu, "_");
}

function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // the browser has begun to read it by then
}
