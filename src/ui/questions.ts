// The prompts that we use, in a file of their own: loaded when a question is asked, and the bundle leaves out the rest of the package.
export { input, password } from '@inquirer/prompts'
export { picker } from './picker.ts'
