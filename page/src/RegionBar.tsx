// The regions in words: the tools that draw them, their names, and the one that is chosen to be renamed or removed.

import { useEffect, useState } from "react";

import { described, LONGEST, problemOf, type Kind, type Region } from "./regions";

const TOOLS: Record<Kind, string> = { rectangle: "Rectangle", polygon: "Polygon", range: "Range" };
const HINTS: Record<Kind, string> = {
  rectangle: "Drag from corner to corner. Enter puts one in the middle, Escape leaves.",
  polygon: "Click vertex by vertex, on the first one to end. Backspace takes one back, Escape leaves.",
  range: "Drag along the axis. Enter puts one in the middle, Escape leaves.",
};

const NONE = "Draw one: it counts from the next point on.";

export interface RegionBarProps {
  kinds: Kind[];
  regions: Region[];
  tool?: Kind;
  chosen?: string;
  /** Why they can't be changed here. */
  readOnly?: string;
  /** Why the last change was not made. */
  reason?: string;
  /** What a region is in words. */
  say?: (region: Region) => string;
  onTool: (tool: Kind | undefined) => void;
  onChoose: (name: string | undefined) => void;
  onChange: (name: string, region: Region | undefined) => void;
  onUndo?: () => void;
}

export function RegionBar(props: RegionBarProps) {
  const { kinds, regions, tool, chosen, readOnly, reason, say = described, onTool, onChoose, onChange, onUndo } = props;
  const region = regions.find(({ name }) => name === chosen);
  return (
    <section className="region-bar" aria-label="regions">
      <div className="chips">
        {kinds.map((kind) => (
          <button
            key={kind}
            type="button"
            className="tool"
            aria-pressed={tool === kind}
            disabled={readOnly !== undefined}
            title={readOnly ?? `draw a ${kind}`}
            onClick={() => onTool(tool === kind ? undefined : kind)}
          >
            <Icon kind={kind} />
            <span>{TOOLS[kind]}</span>
          </button>
        ))}
        {regions.map(({ name }) => (
          <button
            key={name}
            ref={(chip) => name === chosen && chip?.scrollIntoView?.({ block: "nearest", inline: "nearest" })}
            type="button"
            className="chip"
            aria-pressed={name === chosen}
            onClick={() => onChoose(name === chosen ? undefined : name)}
          >
            {name}
          </button>
        ))}
        {tool ? (
          <span className="hint">{HINTS[tool]}</span>
        ) : (
          regions.length === 0 && !reason && <span className="hint">{readOnly ?? NONE}</span>
        )}
        {onUndo && readOnly === undefined && (
          <button type="button" className="plain" onClick={onUndo}>
            Undo
          </button>
        )}
      </div>
      {(reason || regions.length > 0) && (
        <div className="below">
          {reason ? (
            <span className="bad" role="alert">
              {reason}
            </span>
          ) : region ? (
            <Chosen
              key={region.name}
              region={region}
              about={say(region)}
              others={regions.filter((other) => other !== region)}
              isFixed={readOnly !== undefined}
              onChange={(changed) => onChange(region.name, changed)}
            />
          ) : (
            <span className="hint">{readOnly ?? "Choose a region to change it."}</span>
          )}
        </div>
      )}
    </section>
  );
}

interface ChosenProps {
  region: Region;
  about: string;
  others: Region[];
  isFixed: boolean;
  onChange: (region: Region | undefined) => void;
}

function Chosen({ region, about, others, isFixed, onChange }: ChosenProps) {
  const [name, setName] = useState(region.name);
  useEffect(() => setName(region.name), [region.name]);
  const problem = problemOf(name, others);
  const rename = (): void => {
    if (problem === "" && name !== region.name) {
      onChange({ ...region, name: name.trim() });
    }
  };
  return (
    <form
      className="chosen"
      onSubmit={(event) => {
        event.preventDefault();
        rename();
      }}
    >
      <label>
        name
        <input
          type="text"
          value={name}
          maxLength={LONGEST}
          readOnly={isFixed}
          aria-invalid={problem !== ""}
          onChange={({ target }) => setName(target.value)}
          onBlur={rename}
        />
      </label>
      <span className="about">{about}</span>
      {!isFixed && (
        <button type="button" className="plain delete" onClick={() => onChange(undefined)}>
          Delete
        </button>
      )}
      {problem && <span className="bad">{problem}</span>}
    </form>
  );
}

function Icon({ kind }: { kind: Kind }) {
  const paths: Record<Kind, string> = {
    rectangle: "M2,4H14V12H2Z",
    polygon: "M8,2L14,7L11,14H4L2,6Z",
    range: "M4,2V14M12,2V14M4,8H12",
  };
  return (
    <svg width="16" height="16" aria-hidden>
      <path d={paths[kind]} fill="none" stroke="currentColor" strokeWidth="1.5" />
    </svg>
  );
}
