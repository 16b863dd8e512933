// The wall of the operations centre, served at /ioc.
import '../shell/font.css';
import '../shell/theme.css';
import './wall.css';
import { mount } from 'svelte';
import Wall from './Wall.svelte';

const target = document.getElementById('app');
if (target) mount(Wall, { target });
