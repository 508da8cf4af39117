"""The client for services: lists of every page from the online store, each answer of one night, without Feast.

`from feature_repo.client import Recommendations`; this import loads only the standard library.
"""

from feature_repo.client.answers import BagPage as BagPage
from feature_repo.client.answers import History as History
from feature_repo.client.answers import ListPage as ListPage
from feature_repo.client.answers import Page as Page
from feature_repo.client.answers import Product as Product
from feature_repo.client.answers import ProductList as ProductList
from feature_repo.client.answers import ProductPage as ProductPage
from feature_repo.client.answers import Ranking as Ranking
from feature_repo.client.answers import Shown as Shown
from feature_repo.client.arguments import ArgumentError as ArgumentError
from feature_repo.client.arguments import TooManyError as TooManyError
from feature_repo.client.nights import StoreAwayError as StoreAwayError
from feature_repo.client.outfits import Look as Look
from feature_repo.client.outfits import OutfitPage as OutfitPage
from feature_repo.client.ranking import Ranked as Ranked
from feature_repo.client.recommendations import Recommendations as Recommendations
