// Runs inside the box, beside the program: calls one of its functions and writes the value it returned as data.
// Standard input: {"function": name, "arguments": items} as values.py writes them. Functions declared at the top level are
// found by name. Promises are awaited, iterators run to their end; a BigInt, a Set and a Map are an integer, a set and a
// dictionary.
"use strict";
const fs = require("fs");
const vm = require("vm");

const request = JSON.parse(fs.readFileSync(0, "utf8"));
const path = process.argv[process.argv.length - 1];
const result = Number(process.env.RESULT_FD);
delete process.env.RESULT_FD;

function decode(items) {
  const stack = [];
  const take = (count) => stack.splice(stack.length - count, count);
  const build = (tag, members) => {
    if (tag !== "dict") return members;
    const made = {};
    for (let at = 0; at < members.length; at += 2) made[members[at]] = members[at + 1];
    return made;
  };
  for (const item of items) {
    if (!Array.isArray(item)) stack.push(item);
    else if (item[0] === "items") stack.push(build(item[1], item[2]));
    else if (item[0] === "int") stack.push(BigInt(item[1]));
    else if (item[0] === "float") stack.push({ nan: NaN, inf: Infinity, "-inf": -Infinity }[item[1]] ?? Number(item[1]));
    else stack.push(build(item[0], take(item[1])));
  }
  return stack[0];
}

function encode(value) {
  const items = [];
  const open = new Set();
  const todo = [[value, null]];
  while (todo.length) {
    const [part, closes] = todo.pop();
    if (closes) {
      items.push(part);
      open.delete(closes);
      continue;
    }
    if (part === undefined || part === null) items.push(null);
    else if (typeof part === "boolean" || typeof part === "string") items.push(part);
    else if (typeof part === "bigint") items.push(["int", part.toString()]);
    else if (typeof part === "number") {
      if (Number.isNaN(part)) items.push(["float", "nan"]);
      else if (!Number.isFinite(part)) items.push(["float", part > 0 ? "inf" : "-inf"]);
      else items.push(Number.isInteger(part) && !Number.isSafeInteger(part) ? ["float", String(part)] : part);
    } else if (typeof part === "object" && !(part instanceof Promise)) {
      if (open.has(part)) throw new TypeError("a value that holds itself is no data");
      open.add(part);
      let tag = "list";
      let members;
      if (Array.isArray(part)) members = Array.from(part);
      else if (part instanceof Set) [tag, members] = ["set", [...part]];
      else if (part instanceof Map) [tag, members] = ["dict", [...part].flat(1)];
      else if (part instanceof Number || part instanceof String || part instanceof Boolean) {
        items.push(part.valueOf());
        open.delete(part);
        continue;
      } else if (ArrayBuffer.isView(part) || typeof part[Symbol.iterator] === "function") members = [...part];
      else if (typeof part.toJSON === "function") {
        todo.push([part.toJSON(), null]);
        open.delete(part);
        continue;
      } else [tag, members] = ["dict", Object.entries(part).filter(([, held]) => held !== undefined).flat(1)];
      todo.push([[tag, members.length], part]);
      for (const member of members.reverse()) todo.push([member, null]);
    } else throw new TypeError(`a ${typeof part} is no data`);
  }
  return items;
}

globalThis.require = require;
globalThis.module = { exports: {} };
globalThis.exports = globalThis.module.exports;
vm.runInThisContext(fs.readFileSync(path, "utf8"), { filename: path });
const named = vm.runInThisContext(`typeof ${request.function} === "undefined" ? undefined : ${request.function}`);
const target = named ?? globalThis.module.exports[request.function];
Promise.resolve(target(...decode(request.arguments))).then((value) => {
  const body = Buffer.from(JSON.stringify(encode(value)));
  for (let at = 0; at < body.length; ) at += fs.writeSync(result, body, at);
});
