// Runs inside the box, beside the program: calls one of its functions and writes the value it returned as JSON.
// Standard input: {"function": name, "arguments": [...]}. Functions declared at the top level are found by name.
"use strict";
const fs = require("fs");
const vm = require("vm");

const request = JSON.parse(fs.readFileSync(0, "utf8"));
const path = process.argv[process.argv.length - 1];
const result = Number(process.env.RESULT_FD);
delete process.env.RESULT_FD;

globalThis.require = require;
globalThis.module = { exports: {} };
globalThis.exports = globalThis.module.exports;
vm.runInThisContext(fs.readFileSync(path, "utf8"), { filename: path });
const named = vm.runInThisContext(`typeof ${request.function} === "undefined" ? undefined : ${request.function}`);
const target = named ?? globalThis.module.exports[request.function];
Promise.resolve(target(...request.arguments)).then((value) => {
  fs.writeSync(result, JSON.stringify(value === undefined ? null : value));
});
