// The start page, served at /.
import '../shell/font.css';
import '../shell/theme.css';
import { mount } from 'svelte';
import Home from './Home.svelte';

const target = document.getElementById('app');
if (target) mount(Home, { target });
