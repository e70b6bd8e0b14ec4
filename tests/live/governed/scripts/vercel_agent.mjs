// Vercel's AI SDK with three plain tools: no word of Headgate.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const [, , installed, prompt] = process.argv
const require = createRequire(installed)
const { stepCountIs, streamText, tool } = require('ai')
const { anthropic } = require('@ai-sdk/anthropic')
const { z } = require('zod')

const tools = {
  read_file: tool({
    description: 'Read a text file of the workspace.',
    inputSchema: z.object({ path: z.string() }),
    execute: async ({ path }) => readFileSync(path, 'utf8'),
  }),
  edit_file: tool({
    description: 'Replace the text old by new in a file.',
    inputSchema: z.object({ path: z.string(), old: z.string(), new: z.string() }),
    execute: async ({ path, old, new: made }) => writeFileSync(path, readFileSync(path, 'utf8').replace(old, made)),
  }),
  run_tests: tool({
    description: 'Run the tests.',
    inputSchema: z.object({ target: z.string() }),
    execute: async ({ target }) => execFileSync('python3', [target], { encoding: 'utf8' }),
  }),
}
const model = anthropic('claude-sonnet-4-5')
const onError = ({ error }) => {
  console.error(String(error))
  process.exitCode = 1
}
for await (const text of streamText({ model, tools, stopWhen: stepCountIs(12), prompt, onError }).textStream) {
  process.stdout.write(text)
}
