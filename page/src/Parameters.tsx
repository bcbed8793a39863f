// The parameters of the analysis, as a form that is made from their descriptions.

import { useRef, useState, type FormEvent, type ReactNode } from "react";

import { readParameters, useLive } from "./live";
import { change, type Parameter } from "./server";

export function Parameters() {
  const parameters = useLive((live) => live.parameters);
  const shown = parameters.filter(isTyped)
  if (shown.length === 0) {
    return null;
  }
  const stages = [...new Set(shown.map(({ stage }) => stage))];
  return (
    <details open>
      <summary>Parameters</summary>
      {stages.map((stage) => (
        <div key={stage}>
          {stages.length > 1 && <h3>{stage}</h3>}
          {shown
            .filter((one) => one.stage === stage)
            .map((one) => (
              <Field key={one.name} parameter={one} onChange={readParameters} />
            ))}
        </div>
      ))}
    </details>
  );
}

/** Whether a parameter is typed: regions are drawn. */
export function isTyped({ kinds }: Parameter): boolean {
  return kinds === undefined;
}

/** What is sent to set a parameter: the content, and its type. */
export function written(parameter: Parameter, draft: string): [string, string] {
  const isText = parameter.kind !== null || typeof parameter.value === "string";
  return isText ? [draft, "text/plain"] : [draft, "application/json"]; // what nobody described stays a number
}

/** What a parameter may be, and what it is for. */
export function about({ kind, unit, limits, choices, description, default: normal }: Parameter): string {
  const [low, high] = limits ?? [];
  const range =
    low == null ? (high == null ? "" : `at most ${high}`) : high == null ? `at least ${low}` : `${low} to ${high}`;
  const usual = normal === null || normal === "" ? "" : `default ${normal}`;
  const unlimited = kind === "bytes" ? "a file" : choices || kind === "yes or no" ? "" : (kind ?? "");
  return [description, [range || unlimited, range && unit].filter(Boolean).join(" "), usual]
    .filter(Boolean)
    .join(" · ");
}

interface FieldProps {
  parameter: Parameter;
  onChange: () => Promise<void>;
}

export function Field({ parameter, onChange }: FieldProps) {
  const [draft, setDraft] = useState<string>();
  const [reason, setReason] = useState("");
  const [isSet, setIsSet] = useState(false);
  const { name, stage, kind, unit, value } = parameter;
  const set = async (body: BodyInit, type: string): Promise<void> => {
    const path = `/api/v1/parameter/${encodeURIComponent(name)}?stage=${encodeURIComponent(stage)}`;
    try {
      await change("PUT", path, body, type);
      await onChange();
      setDraft(undefined);
      setReason("");
      setIsSet(true);
    } catch (error) {
      setIsSet(false);
      setReason(error instanceof Error ? error.message : String(error));
    }
  };
  const submit = (event: FormEvent): void => {
    event.preventDefault();
    if (draft !== undefined) {
      void set(...written(parameter, draft));
    }
  };
  const edit = (text: string): void => {
    setDraft(text);
    setIsSet(false);
  };
  return (
    <form className="field" onSubmit={submit} data-testid={`parameter ${name}`}>
      <label>
        <span className="name">
          {name}
          {unit && <small> {unit}</small>}
        </span>
        <Input
          parameter={parameter}
          text={draft ?? String(value ?? "")}
          onEdit={edit}
          onChoose={(text) => void set(...written(parameter, text))}
          onFile={(file) => void set(file, "application/octet-stream")}
        />
      </label>
      {draft !== undefined && (
        <>
          <button type="submit">Set</button>
          <button type="button" className="plain" onClick={() => (setDraft(undefined), setReason(""))}>
            Cancel
          </button>
        </>
      )}
      {isSet && <span className="good">set</span>}
      <small className="about">
        {kind === "bytes" ? `${about(parameter)} · now ${parameter.size ?? 0} bytes` : about(parameter)}
      </small>
      {reason && (
        <p className="bad" role="alert">
          {reason}
        </p>
      )}
    </form>
  );
}

interface InputProps {
  parameter: Parameter;
  text: string;
  onEdit: (text: string) => void;
  onChoose: (text: string) => void;
  onFile: (file: File) => void;
}

function Input({ parameter, text, onEdit, onChoose, onFile }: InputProps): ReactNode {
  const file = useRef<HTMLInputElement>(null);
  const { kind, choices } = parameter;
  if (choices) {
    return (
      <select value={text} onChange={({ target }) => onChoose(target.value)}>
        {choices.map((choice) => (
          <option key={String(choice)}>{String(choice)}</option>
        ))}
      </select>
    );
  }
  if (kind === "yes or no" || (kind === null && typeof parameter.value === "boolean")) {
    return (
      <input type="checkbox" checked={text === "true"} onChange={({ target }) => onChoose(String(target.checked))} />
    );
  }
  if (kind === "bytes" || parameter.size !== undefined) {
    const choose = (): void => {
      const [chosen] = file.current?.files ?? [];
      if (chosen && file.current) {
        onFile(chosen);
        file.current.value = ""; // so that the same file can be sent again
      }
    };
    return <input type="file" ref={file} onChange={choose} />;
  }
  // No input of numbers: they turn with the wheel of the mouse, and rubbish in them is not told.
  const isNumber = kind === "number" || kind === "whole number";
  return (
    <input
      type="text"
      inputMode={isNumber ? "decimal" : "text"}
      value={text}
      onChange={({ target }) => onEdit(target.value)}
    />
  );
}
