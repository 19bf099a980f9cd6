import { NavContentBlueprint } from '@backstage/plugin-app-react';
import { configApiRef, useApi } from '@backstage/frontend-plugin-api';
import {
  Sidebar, SidebarDivider, SidebarGroup, SidebarItem, SidebarScrollWrapper, SidebarSpace, Link, useSidebarOpenState,
} from '@backstage/core-components';
import { makeStyles } from '@material-ui/core/styles';
import MenuIcon from '@material-ui/icons/Menu';
import SettingsIcon from '@material-ui/icons/Settings';

const useStyles = makeStyles({
  header: { height: 64, display: 'flex', alignItems: 'center', paddingLeft: 24, overflow: 'hidden' },
  name: { color: '#fff', fontSize: 18, fontWeight: 600, whiteSpace: 'nowrap', textOverflow: 'ellipsis', overflow: 'hidden' },
});

/** The workspace's title (app.title), or its first letter while the sidebar is narrow. */
function Title() {
  const styles = useStyles();
  const { isOpen } = useSidebarOpenState();
  const title = useApi(configApiRef).getOptionalString('app.title') ?? 'Backstage';
  return (
    <div className={styles.header}>
      <Link to="/catalog" underline="none" aria-label={title} className={styles.name}>
        {isOpen ? title : title.slice(0, 1).toUpperCase()}
      </Link>
    </div>
  );
}

const item = ({ node, href, icon, title }) => (
  <SidebarItem key={node.spec.id} to={href} icon={() => icon} text={title} />
);

// The pages of whatever plugins the workspace has: search first, the catalogue next, settings at the bottom.
function Navigation({ navItems }) {
  const search = navItems.take('page:search');
  const catalog = navItems.take('page:catalog');
  const settings = navItems.take('page:user-settings');
  const notifications = navItems.take('page:notifications');
  return (
    <Sidebar>
      <Title />
      {search && item(search)}
      <SidebarDivider />
      <SidebarGroup label="Menu" icon={<MenuIcon />}>
        {catalog && item(catalog)}
        <SidebarScrollWrapper>{navItems.rest().map(item)}</SidebarScrollWrapper>
      </SidebarGroup>
      <SidebarSpace />
      <SidebarDivider />
      {notifications && item(notifications)}
      {settings && (
        <SidebarGroup label="Settings" icon={<SettingsIcon />} to={settings.href}>{item(settings)}</SidebarGroup>
      )}
    </Sidebar>
  );
}

export const navigation = NavContentBlueprint.make({ params: { component: Navigation } });
