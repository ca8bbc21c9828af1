// A program with its syntax in colours: the tree of the highlighter becomes elements and text nodes.

import cpp from "highlight.js/lib/languages/cpp";
import javascript from "highlight.js/lib/languages/javascript";
import python from "highlight.js/lib/languages/python";
import { createLowlight } from "lowlight";
import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";

const light = createLowlight({ python, cpp, javascript });
const NAMES: Record<string, string> = { py: "python", python3: "python", "c++": "cpp", c: "cpp", js: "javascript", node: "javascript" };
const LONGEST = 50_000;

interface Node {
  type: string;
  value?: string;
  properties?: { className?: unknown };
  children?: Node[];
}

export function Program({ source, language }: { source: string; language: string }) {
  const name = NAMES[language] ?? language;
  const shown = useMemo<ComponentChildren>(() => {
    if (!light.registered(name) || source.length > LONGEST) return source;
    return (light.highlight(name, source).children as Node[]).map(element);
  }, [source, name]);
  return (
    <pre class="program" tabIndex={0}>
      {light.registered(name) && <span class="language">{name}</span>}
      <code>{shown}</code>
    </pre>
  );
}

function element(node: Node, key: number): ComponentChildren {
  if (node.type === "text") return node.value;
  const names = Array.isArray(node.properties?.className) ? node.properties.className.join(" ") : "";
  return (
    <span key={key} class={names}>
      {node.children?.map(element)}
    </span>
  );
}
